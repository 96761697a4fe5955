"""Biased matrix factorization of ratings: the classic, by alternating least squares."""

from typing import Any

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.ratings.base import Floats, Ratings
from pipelines.models.ratings.factors import FactorModel, Factors
from pipelines.models.ratings.normal_equations import normal_equations
from pipelines.models.retrievers.base import ModelCard


class BiasedFactorSettings(Section):
    """Size and regularization."""

    num_factors: int = Field(10, ge=1, description="factors of a user and of an item")
    bias_l2: float = Field(4.0, gt=0, description="penalty of biases")
    factor_l2: float = Field(8.0, gt=0, description="penalty of factors")
    num_sweeps: int = Field(20, ge=1, description="times that users and items are solved in turn")


class BiasedFactors(FactorModel):
    """Mean, biases and factors that minimize squared error plus a penalty."""

    card = ModelCard(
        name="biased_factors",
        family="factorization",
        needs="ratings",
        good_at="what a user would rate highest, used next or not; in seconds",
        source="Koren, Bell and Volinsky, Matrix factorization techniques for recommender systems, 2009",
    )
    Settings = BiasedFactorSettings

    def learn(self, train: Ratings, *, seed: int) -> Factors:
        """Solve users and items in turn, from small random item factors."""
        by_user = train.matrix(train.values - self.mean)
        users, items = self.start(train, seed=seed)
        for _ in range(self.settings.num_sweeps):
            users, items = self.swept(by_user, items)
        return Factors(users[None], items[None])

    def start(self, train: Ratings, *, seed: int) -> tuple[Floats, Floats]:
        """Return users of zeros, `[num_users, 1 + num_factors]`, and small random items, of `num_items` rows."""
        size = 1 + self.settings.num_factors
        items = np.random.default_rng(seed).normal(0, 0.1, (train.num_items, size))
        return np.zeros((train.num_users, size)), items

    def swept(self, by_user: Any, items: Floats) -> tuple[Floats, Floats]:
        """Solve users given items, then items given users.

        Args:
            by_user: centered ratings, CSR `[num_users, num_items]`.
            items: bias and factors, `[num_items, 1 + num_factors]`.

        Returns:
            Users and items, in the shape of `items`.
        """
        penalty = np.diag([self.settings.bias_l2] + [self.settings.factor_l2] * self.settings.num_factors)
        users = _solved(*normal_equations(by_user, items), penalty)
        return users, _solved(*normal_equations(by_user.T.tocsr(), users), penalty)


def _solved(left: Floats, right: Floats, penalty: Floats) -> Floats:
    return np.asarray(np.linalg.solve(left + penalty, right[..., None])[..., 0], dtype=np.float64)
