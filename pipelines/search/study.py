"""A study: trials that several processes share, each tried once, whoever is killed.

A study has slots, one a trial that was asked for. Who wants to work claims the first slot that is neither done nor
being worked on, under a lock. A worker holds a file for as long as it lives; a trial whose worker is gone is marked
failed, and its slot is tried again with the same settings under a new number.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import ConfigError
from pipelines.search.sampler import SLOT, SlotSampler
from pipelines.search.space import Params, Space
from pipelines.search.storage import alone, is_held

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
# Attributes of a study, and of a trial.
DEFINITION, PINNED, NUM_TRIALS, IDENTITY = "definition", "pinned", "num_trials", "id"
WORKER, ERROR, FACTS = "worker", "error", "facts"

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: `complete`, `pruned` by the study, or `failed` for a reason that trying again would meet again.
        value: the objective; of a trial that was pruned its last, of one that failed None.
        epochs: the objective after each epoch; empty for models without epochs.
        error: why it failed.
        facts: what else is worth a column, such as `cost_wall_seconds`.
    """

    state: State
    value: float | None = None
    epochs: tuple[float, ...] = ()
    error: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """A slot that is done: settings by dotted name, and how they did."""

    slot: int
    settings: Params
    outcome: Outcome


class Trial:
    """A claimed slot: settings to try.

    Attributes:
        slot: from 0.
        settings: dotted key -> value.
    """

    def __init__(self, trial: Any, space: Space) -> None:
        self._trial = trial
        self._told = 0
        self.slot = int(trial.user_attrs[SLOT])
        self.settings = space.settings(trial.params)

    def report(self, epochs: Sequence[float]) -> bool:
        """Take the objective of every epoch so far; returns whether to stop, for it is worse than half of the others.

        A trial that goes on from a checkpoint is judged at each epoch as if it had never been killed.
        """
        for epoch in range(self._told + 1, len(epochs) + 1):
            self._tell(epoch, epochs[epoch - 1])
            if self._trial.should_prune():
                return True
        return False

    def end(self, outcome: Outcome) -> None:
        """Finish it; a process that dies on the way leaves the slot as if it had not begun, or finished."""
        from optuna.trial import TrialState

        for epoch in range(self._told + 1, len(outcome.epochs) + 1):
            self._tell(epoch, outcome.epochs[epoch - 1])
        self._trial.set_user_attr(FACTS, dict(outcome.facts))
        if outcome.state == "failed":
            self._trial.set_user_attr(ERROR, outcome.error)
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        value = outcome.value if outcome.state == "complete" else None
        self._trial.study.tell(self._trial, value, state=states[outcome.state])

    def _tell(self, epoch: int, value: float) -> None:
        self._trial.report(value, epoch)
        self._told = epoch


class SearchStudy:
    """One study in a storage.

    Args:
        storage: of `open_storage`.
        folder: of all searches; processes that share the study share it.
        name: of the study, which must be there: see `define`.

    Raises:
        ConfigError: there is no such study.
    """

    def __init__(self, storage: Any, folder: Path, name: str) -> None:
        import optuna

        self.name = checked_name(name)
        self._folder = folder / name
        try:
            attributes = optuna.load_study(study_name=name, storage=storage).user_attrs
            self.definition: dict[str, Any] = attributes[DEFINITION]
        except KeyError as error:
            raise ConfigError(f"there is no search {name!r}; expected one that `tandem search` began") from error
        self.pinned: dict[str, Any] = attributes[PINNED]
        self.identity: str = attributes[IDENTITY]
        self.num_asked: int = attributes[NUM_TRIALS]
        self.space = Space.of(self.definition["space"])
        sampler = SlotSampler(self.space, self.definition["seed"])
        pruner = _pruner(self.definition["pruning"])
        self._study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
        self._worker = ""

    @property
    def num_trials(self) -> int:
        """How many slots there are: as many as asked for, or as the space has points."""
        return min(self.num_asked, self.space.num_points or self.num_asked)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Claims are made in here; what a process that dies in here worked on is tried again by others."""
        self._worker = uuid.uuid4().hex
        file = self._lock_of(self._worker)
        with alone(file):
            try:
                yield
            finally:
                file.unlink()

    def claim(self) -> Trial | None:
        """Return the next trial to work on; None when each is done or being worked on."""
        with alone(self._folder / ".claim.lock"):
            self._bury_the_dead()
            slot = self._open_slot()
            if slot is None:
                return None
            if not any(trial.state.name == "WAITING" for trial in self._study.get_trials(deepcopy=False)):
                self._study.enqueue_trial(self._left_by(slot), user_attrs={SLOT: slot})
            trial = self._study.ask(self.space.distributions())
            trial.set_user_attr(WORKER, self._worker)
            return Trial(trial, self.space)

    def tried(self) -> list[Tried]:
        """Return every slot that is done, by number."""
        done = {trial.user_attrs[SLOT]: trial for trial in self._study.get_trials(deepcopy=False) if _is_done(trial)}
        return [Tried(slot, self.space.settings(trial.params), _outcome(trial)) for slot, trial in sorted(done.items())]

    def best(self) -> Tried | None:
        """Return the complete trial of the highest value, of equal ones the first; None where there is none."""
        complete = [one for one in self.tried() if one.outcome.state == "complete"]
        return max(complete, key=lambda one: (one.outcome.value, -one.slot)) if complete else None

    def importances(self) -> dict[str, float]:
        """Return setting -> share of what the settings explain, highest first; empty with fewer than two values.

        Source: Watanabe, Bansal and Hutter, PED-ANOVA, IJCAI 2023.
        """
        import optuna

        values = {one.outcome.value for one in self.tried() if one.outcome.state == "complete"}
        if len(values) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in shares.items()}

    def _bury_the_dead(self) -> None:
        """Mark trials failed whose worker is gone, so that their slots are open; called under the lock."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            if worker is None or worker == self._worker or not is_held(self._lock_of(worker)):
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _open_slot(self) -> int | None:
        trials = self._study.get_trials(deepcopy=False)
        taken = {trial.user_attrs[SLOT] for trial in trials if _is_done(trial) or trial.state.name == "RUNNING"}
        return next((slot for slot in range(self.num_trials) if slot not in taken), None)

    def _left_by(self, slot: int) -> Params:
        """Return the settings that a dead worker tried; empty where it had not got all of them."""
        trials = [t for t in self._study.get_trials(deepcopy=False) if t.user_attrs[SLOT] == slot]
        whole = [dict(trial.params) for trial in trials if len(trial.params) == len(self.space.dimensions)]
        return whole[-1] if whole else {}

    def _lock_of(self, worker: str) -> Path:
        return self._folder / f"{worker}.lock"


def define(
    storage: Any, name: str, definition: Mapping[str, Any], *, pinned: Mapping[str, Any], num_trials: int
) -> None:
    """Begin a study, or ask for more trials of the one that has the name; one caller at a time.

    Args:
        storage: of `open_storage`.
        name: of the study.
        definition: `space`, `seed`, `pruning` and whatever else all its trials share, as JSON.
        pinned: what the first caller decides for those that come later, as JSON.
        num_trials: asked for; fewer than before change nothing.

    Raises:
        ConfigError: the name is none, or the study is of another definition.
    """
    import optuna

    study = optuna.create_study(
        study_name=checked_name(name), storage=storage, direction="maximize", load_if_exists=True
    )
    known = study.user_attrs.get(DEFINITION)
    wanted = json.loads(json.dumps(definition))
    if known is None:  # the last of it to be written
        study.set_user_attr(IDENTITY, uuid.uuid4().hex)
        study.set_user_attr(PINNED, dict(pinned))
        study.set_user_attr(NUM_TRIALS, num_trials)
        study.set_user_attr(DEFINITION, wanted)
        return
    if known != wanted:
        differ = ", ".join(key for key in sorted({*known, *wanted}) if known.get(key) != wanted.get(key))
        raise ConfigError(
            f"search {name!r} was begun with another {differ}; expected the same for all of its trials. Go on with "
            "that, or choose another name of the study"
        )
    if study.user_attrs[NUM_TRIALS] < num_trials:
        study.set_user_attr(NUM_TRIALS, num_trials)


def checked_name(name: str) -> str:
    """Return the name of a study.

    Raises:
        ConfigError: it is not one.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"study {name!r} is not a name; expected at most 100 small letters, digits, dots, dashes and underscores, "
            "the first a letter or digit"
        )
    return name


def _pruner(pruning: Mapping[str, Any] | None) -> Any:
    """Return what stops a trial whose best epoch so far is below the median of the others' at the same epoch."""
    from optuna.pruners import MedianPruner, NopPruner

    if pruning is None:
        return NopPruner()
    return MedianPruner(n_startup_trials=pruning["num_unpruned"], n_warmup_steps=pruning["prune_from_epoch"])


def _is_done(trial: Any) -> bool:
    return trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and ERROR in trial.user_attrs)


def _outcome(trial: Any) -> Outcome:
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    epochs = tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values))
    attributes = trial.user_attrs
    return Outcome(states[trial.state.name], trial.value, epochs, attributes.get(ERROR, ""), attributes.get(FACTS, {}))
