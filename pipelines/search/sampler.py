"""Which settings are tried next: Optuna's estimator, made a function of seed, slot and what is known so far."""

import random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from pipelines.search.space import Params, Space

SLOT = "slot"
MOST_LISTED = 10_000  # points of a space; of a larger one no search tries so many that a draw finds none left

Point = frozenset[tuple[str, Any]]


class SlotSampler(BaseSampler):
    """Proposes by a tree-structured Parzen estimator (Bergstra and others, NeurIPS 2011), and no point twice.

    Optuna's own sampler goes on with random numbers whose state dies with the process, and may propose what was tried.
    This one is seeded anew by the trial's slot, so a search that was killed proposes what it would have.

    Args:
        space: what to propose from.
        seed: decides, with the slot and the trials so far.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all of it: the settings of a trial are proposed together."""
        del study, trial
        return self._space.distributions()

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """Return the settings of a trial that has none yet."""
        slot = trial.user_attrs[SLOT]
        others = study.get_trials(deepcopy=False)
        tried = {_point(other.params) for other in others if other.user_attrs[SLOT] != slot}
        rng = random.Random(f"{self._seed} {slot}")  # noqa: S311 - nothing secret is drawn
        proposed = TPESampler(seed=rng.getrandbits(32)).sample_relative(study, trial, search_space)
        if proposed and _point(proposed) not in tried:
            return proposed
        return self._drawn(study, trial, tried, rng)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Refuse: no setting is proposed alone."""
        raise NotImplementedError(f"{param_name} is not in the space of this search")

    def _drawn(self, study: Study, trial: FrozenTrial, tried: set[Point], rng: random.Random) -> Params:
        """Return a random point that was not tried; the study asks for no more than there are."""
        if (self._space.num_points or MOST_LISTED + 1) <= MOST_LISTED:
            return rng.choice([point for point in self._space.points() if _point(point) not in tried])
        while True:
            sampler = RandomSampler(seed=rng.getrandbits(32))
            drawn = {
                name: sampler.sample_independent(study, trial, name, distribution)
                for name, distribution in self._space.distributions().items()
            }
            if _point(drawn) not in tried:
                return drawn


def _point(params: Params) -> Point:
    return frozenset(params.items())
