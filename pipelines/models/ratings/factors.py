"""What every factor model of ratings is when it is fitted: a mean, biases and factors."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Floats, Ints, RatingPredictor, Ratings, require_ratings
from pipelines.models.retrievers.files import read_learned, read_settings, write_model


@dataclass(frozen=True)
class Factors:
    """Users' and items' columns: the first is the bias, the others are factors.

    Attributes:
        users: `[num_samples, num_users, 1 + num_factors]`; one sample unless the model averages several.
        items: `[num_samples, num_items, 1 + num_factors]`.
    """

    users: Floats
    items: Floats


class FactorModel(RatingPredictor):
    """Predicts `mean + user bias + item bias + user factors . item factors`, averaged over samples of the factors.

    Predictions are cut to the range of the training ratings.
    """

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.mean, self.lowest, self.highest = 0.0, 0.0, 0.0
        self.factors = Factors(np.zeros((1, 0, 1)), np.zeros((1, 0, 1)))

    @abstractmethod
    def learn(self, train: Ratings, *, seed: int) -> Factors:
        """Return the factors of ratings less their mean, `self.mean`."""

    def fit(self, train: Ratings, *, seed: int) -> None:
        """Center the ratings and learn the factors."""
        require_ratings(train)
        self.mean = float(train.values.mean())
        self.lowest, self.highest = float(train.values.min()), float(train.values.max())
        self.factors = self.learn(train, seed=seed)

    def predict(self, users: Ints, items: Ints, contexts: Contexts | None = None) -> Floats:
        """Return predictions, `[num_pairs]`."""
        total, level = np.zeros(len(users)), self.mean + self.deviation(users, items, contexts)
        for of_users, of_items in zip(self.factors.users, self.factors.items, strict=True):
            left, right = of_users[users], of_items[items]
            sample = level + left[:, 0] + right[:, 0] + np.einsum("pf,pf->p", left[:, 1:], right[:, 1:])
            total += np.clip(sample, self.lowest, self.highest)
        return np.asarray(total / len(self.factors.users))

    def deviation(self, users: Ints, items: Ints, contexts: Contexts | None) -> Floats | float:
        """Return how far contexts move each prediction, `[num_pairs]`; nothing, unless a model says otherwise."""
        return 0.0

    def arrays(self) -> dict[str, Floats]:
        """Return what was learned, by name."""
        scale = np.array([self.mean, self.lowest, self.highest])
        return {"users": self.factors.users, "items": self.factors.items, "scale": scale}

    def restore(self, arrays: dict[str, Floats]) -> None:
        """Take what `arrays` returned."""
        self.mean, self.lowest, self.highest = (float(value) for value in arrays["scale"])
        self.factors = Factors(arrays["users"], arrays["items"])

    def save(self, folder: Path) -> None:
        """Write settings, mean, range and factors."""
        write_model(folder, self.settings, self.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(read_settings(folder, cls.Settings))
        model.restore(read_learned(folder))
        return model
