"""The contract of every model that predicts ratings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.config import Section
from pipelines.errors import TrainingError
from pipelines.models.contexts import Contexts
from pipelines.models.retrievers.base import ModelCard

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratings:
    """Ratings in columns.

    Attributes:
        users: codes from 0, `[num_ratings]`.
        items: codes from 0, same shape.
        values: ratings, same shape.
        num_users: users there are codes for.
        num_items: items there are codes for.
        user_attributes: what is known of users besides ratings, CSR `[num_users, num_attributes]`; None: nothing.
        item_attributes: the same of items, CSR `[num_items, num_attributes]`.
        contexts: the conditions each rating was given under; None where nothing is known of them.
    """

    users: Ints
    items: Ints
    values: Floats
    num_users: int
    num_items: int
    user_attributes: Any = None
    item_attributes: Any = None
    contexts: Contexts | None = None

    def __len__(self) -> int:
        """Ratings."""
        return len(self.values)

    def take(self, chosen: NDArray[Any]) -> "Ratings":
        """Return some ratings, by position or mask."""
        return replace(
            self,
            users=self.users[chosen],
            items=self.items[chosen],
            values=self.values[chosen],
            contexts=None if self.contexts is None else self.contexts.take(chosen),
        )

    def matrix(self, data: NDArray[Any] | None = None) -> Any:
        """Return users by items as a scipy CSR matrix of `data`, a value a rating; None takes the ratings.

        Ratings that a user gave one item, such as in two contexts, stay side by side and are not added up.
        """
        import scipy.sparse as sp

        order = np.lexsort((self.items, self.users))
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.users, minlength=self.num_users))])
        cells: Any = ((self.values if data is None else data)[order], self.items[order], starts)
        return sp.csr_matrix(cells, shape=(self.num_users, self.num_items))


class RatingPredictor(ABC):
    """A model that predicts the rating of a user for an item; it holds arrays only.

    A subclass names its `card` and its frozen `Settings`.
    """

    card: ClassVar[ModelCard]
    Settings: ClassVar[type[Section]]

    def __init__(self, settings: Any = None) -> None:
        """Take the settings; None takes the defaults."""
        self.settings: Any = settings if settings is not None else self.Settings()

    @abstractmethod
    def fit(self, train: Ratings, *, seed: int) -> None:
        """Learn from ratings; equal arguments give an equal model.

        Raises:
            TrainingError: there is no rating.
        """

    @abstractmethod
    def predict(self, users: Ints, items: Ints, contexts: Contexts | None = None) -> Floats:
        """Return finite predictions, `[num_pairs]`; a user or item without a training rating gets a mean.

        Args:
            users: codes, `[num_pairs]`.
            items: codes, same shape.
            contexts: the conditions each is asked for under; None, or a model that knows no context: whatever they are.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write settings and arrays below `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; predictions are equal to those of the model that was saved."""


def require_ratings(train: Ratings) -> None:
    """Raise TrainingError when there is nothing to learn from."""
    if not len(train):
        raise TrainingError("the training part holds 0 ratings; expected at least 1")
