"""Biases alone: the mean, and how far each user and item lies from it; the baseline of every rating model."""

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.ratings.base import Ratings
from pipelines.models.ratings.factors import FactorModel, Factors
from pipelines.models.ratings.normal_equations import normal_equations
from pipelines.models.retrievers.base import ModelCard


class BiasSettings(Section):
    """Regularization."""

    user_l2: float = Field(5.0, ge=0, description="a user's bias is as if it had so many more ratings at the mean")
    item_l2: float = Field(2.0, ge=0, description="the same of an item")
    num_sweeps: int = Field(15, ge=1, description="times that users and items are solved in turn")


class Biases(FactorModel):
    """User and item biases by alternating ridge regressions."""

    card = ModelCard(
        name="biases",
        family="baseline",
        needs="ratings",
        good_at="the baseline of every rating model",
        source="Koren, Collaborative filtering with temporal dynamics, 2009: its baseline predictor",
    )
    Settings = BiasSettings

    def learn(self, train: Ratings, *, seed: int) -> Factors:
        """Solve in turn; nothing is random."""
        by_user = train.matrix(train.values - self.mean)
        by_item = by_user.T.tocsr()
        users, items = np.zeros((train.num_users, 1)), np.zeros((train.num_items, 1))
        for _ in range(self.settings.num_sweeps):
            left, right = normal_equations(by_item, users)
            items = right / np.maximum(left[:, :, 0] + self.settings.item_l2, 1e-12)
            left, right = normal_equations(by_user, items)
            users = right / np.maximum(left[:, :, 0] + self.settings.user_l2, 1e-12)
        return Factors(users[None], items[None])
