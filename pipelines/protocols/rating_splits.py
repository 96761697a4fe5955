"""The rating protocols' data: from MovieLens-100K to ratings to learn from and ratings to predict."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Ratings
from pipelines.protocols.base import Parts
from pipelines.protocols.files import Events, read_ml_100k, read_ml_100k_attributes, read_ml_100k_fold
from pipelines.protocols.splits import tensorflow_shuffled

VALIDATION_SHARE = 0.2
TRAIN_ROWS, TEST_ROWS = 80_000, 20_000
LISTS_TRAIN_ROWS, LISTS_VALIDATION_ROWS = 70_000, 15_000


@dataclass(frozen=True)
class RatingTask:
    """Ratings to learn from, and ratings to predict."""

    train: Ratings
    test: Ratings


def ml_100k_random(data: Path, seed: int) -> Parts:
    """Predict 20,000 ratings from 80,000, split at random as the examples of keras-rs do."""
    ratings = _shuffled(data)
    return _parts(ratings.take(np.arange(TRAIN_ROWS)), ratings.take(np.arange(TRAIN_ROWS, TRAIN_ROWS + TEST_ROWS)))


def ml_100k_fold_1(data: Path, seed: int) -> Parts:
    """Predict the 20,000 ratings of the published fold u1 from its 80,000."""
    train, test = read_ml_100k_fold(data, 1)
    return _parts(_ratings(train, data), _ratings(test, data))


def ml_100k_lists(data: Path, seed: int) -> Parts:
    """Order five test films of each user by rating: 70,000 to learn from, 15,000 to choose by, 15,000 to test."""
    ratings = _shuffled(data)
    first, second = LISTS_TRAIN_ROWS, LISTS_TRAIN_ROWS + LISTS_VALIDATION_ROWS
    train, validation = ratings.take(np.arange(first)), ratings.take(np.arange(first, second))
    test = ratings.take(np.arange(second, len(ratings)))
    return Parts(RatingTask(train, test), RatingTask(train, validation))


def _parts(train: Ratings, test: Ratings) -> Parts:
    """Return the test, and a random part of the training ratings to choose by."""
    drawn = np.random.default_rng(0).permutation(len(train)) < VALIDATION_SHARE * len(train)
    return Parts(RatingTask(train, test), RatingTask(train.take(~drawn), train.take(drawn)))


def _shuffled(data: Path) -> Ratings:
    events = read_ml_100k(data)
    order: NDArray[np.int64] = tensorflow_shuffled(len(events))
    return _ratings(events.take(order), data)


def _ratings(events: Events, data: Path) -> Ratings:
    of_users, of_items = read_ml_100k_attributes(data)
    return Ratings(
        events.users,
        events.items,
        np.asarray(events.values, dtype=np.float64),
        events.num_users,
        events.num_items,
        of_users,
        of_items,
        contexts=None if events.times is None else Contexts.at(events.times),
    )
