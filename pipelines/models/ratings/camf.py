"""Context-aware matrix factorization: biased factors, and how far each condition moves a rating."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipelines.models.contexts import Contexts, require_contexts
from pipelines.models.ratings.base import Floats, Ints, Ratings
from pipelines.models.ratings.biased_factors import BiasedFactors, BiasedFactorSettings
from pipelines.models.ratings.factors import Factors
from pipelines.models.retrievers.base import ModelCard


class CamfSettings(BiasedFactorSettings):
    """What conditions move, and how cautiously."""

    deviations: Literal["global", "item", "user"] = Field(
        "item", description="a condition moves all ratings alike (CAMF-C), those of each item (CI), or each user's (CU)"
    )
    deviation_l2: float = Field(50.0, gt=0, description="penalty of deviations: as so many more ratings without one")


class Camf(BiasedFactors):
    """Adds to biased factors the deviations of a rating's conditions: of all ratings, of the item, or of the user.

    Users, items and deviations are solved in turn, each exactly given the others. A condition that was never seen
    with an item or user, or is not known, moves nothing.
    """

    card = ModelCard(
        name="camf",
        family="context",
        needs="ratings, and times or devices",
        good_at="ratings that depend on when they are given, or on what device",
        source="Baltrunas, Ludwig and Ricci, Matrix factorization techniques for context aware recommendation, "
        "RecSys 2011",
    )
    Settings = CamfSettings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.deviations: Floats = np.zeros((1, 0))

    def learn(self, train: Ratings, *, seed: int) -> Factors:
        """Solve users, items and deviations in turn."""
        contexts = require_contexts(train.contexts, f"{len(train)} ratings")
        groups, num_groups = self._groups(train.users, train.items), self._num_groups(train)
        left = _squares(contexts, groups, num_groups) + self.settings.deviation_l2 * np.eye(contexts.num_conditions)
        centered = train.values - self.mean
        users, items = self.start(train, seed=seed)
        self.deviations = np.zeros((num_groups, contexts.num_conditions))
        for _ in range(self.settings.num_sweeps):
            users, items = self.swept(train.matrix(centered - contexts.sums(self.deviations, groups)), items)
            rest = centered - _products(users[train.users], items[train.items])
            right = contexts.totals(groups, num_groups, rest)
            self.deviations = np.linalg.solve(left, right[..., None])[..., 0]
        return Factors(users[None], items[None])

    def deviation(self, users: Ints, items: Ints, contexts: Contexts | None) -> Floats | float:
        """Return the sum of the deviations of each pair's conditions, `[num_pairs]`."""
        return 0.0 if contexts is None else contexts.sums(self.deviations, self._groups(users, items))

    def arrays(self) -> dict[str, Floats]:
        """Return factors and deviations."""
        return super().arrays() | {"deviations": self.deviations}

    def restore(self, arrays: dict[str, Floats]) -> None:
        """Take factors and deviations."""
        super().restore(arrays)
        self.deviations = arrays["deviations"]

    def _groups(self, users: Ints, items: Ints) -> Ints:
        """Return the row of `deviations` of each pair."""
        return {"global": np.zeros_like(users), "item": items, "user": users}[self.settings.deviations]

    def _num_groups(self, train: Ratings) -> int:
        return {"global": 1, "item": train.num_items, "user": train.num_users}[self.settings.deviations]


def _products(users: Floats, items: Floats) -> Floats:
    return np.asarray(users[:, 0] + items[:, 0] + np.einsum("pf,pf->p", users[:, 1:], items[:, 1:]))


def _squares(contexts: Contexts, groups: Ints, num_groups: int) -> Floats:
    """Return how often two conditions met by group, `[num_groups, num_conditions, num_conditions]`."""
    size = contexts.num_conditions
    total = np.zeros((num_groups * size, size))
    for column in contexts.conditions.T:
        known = column >= 0
        rows = groups[known] * size + column[known]
        total += contexts.take(known).totals(rows, len(total), np.ones(len(rows)))
    return total.reshape(num_groups, size, size)
