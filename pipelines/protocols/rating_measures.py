"""Ask a rating model a protocol's question: its error, or how well it orders short lists."""

import numpy as np

from pipelines.models.ratings.base import Floats, Ratings
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.significance import PerUser
from pipelines.protocols.base import Contender, Part, Parts
from pipelines.protocols.measures import Measures
from pipelines.protocols.rating_splits import RatingTask

LIST_LENGTH = 5


def contest_rating(contender: Contender, parts: Parts, part: Part, seed: int) -> Measures:
    """Fit a contender and return the root of its mean squared error on a part."""
    task: RatingTask = getattr(parts, part)
    errors = _predicted(contender, task.train, task.test, seed) - task.test.values
    users, ones = task.test.users, np.ones(len(errors))
    return Measures(
        {
            "rmse": PerUser.grouped(users, errors**2, ones, root=True),
            "mae": PerUser.grouped(users, np.abs(errors), ones),
        }
    )


def contest_lists(contender: Contender, parts: Parts, part: Part, seed: int) -> Measures:
    """Fit a contender and return its nDCG on one list of five films a user, drawn with the seed."""
    task: RatingTask = getattr(parts, part)
    lists = draw_lists(task.test, LIST_LENGTH, seed=seed)
    scores = _predicted(contender, task.train, task.test.take(lists.ravel()), seed).reshape(lists.shape)
    return Measures({"ndcg_at_5": PerUser.of(list_ndcg(task.test.values[lists], scores))})


def draw_lists(ratings: Ratings, length: int, *, seed: int) -> np.ndarray:
    """Return rows of different ratings of one user, one row a user with enough of them, `[num_lists, length]`."""
    shuffled = np.random.default_rng(seed).permutation(len(ratings))
    order = shuffled[np.argsort(ratings.users[shuffled], kind="stable")]
    counts = np.bincount(ratings.users)
    starts = (np.cumsum(counts) - counts)[counts >= length]
    return np.asarray(order[starts[:, None] + np.arange(length)])


def list_ndcg(values: Floats, scores: Floats) -> Floats:
    """Return the normalized discounted gain of each list ordered by score, `[num_lists]`; ties are counted worst case.

    A gain is `2 ** (normalized rating) - 1` with ratings from 0 to 1, as the examples of keras-rs have it. A list
    whose ratings all are the lowest gains nothing and counts 0.

    Args:
        values: ratings from 1 to 5, `[num_lists, length]`.
        scores: of the model, same shape.
    """
    gains = 2 ** ((values - 1) / 4) - 1
    discount = 1 / np.log2(np.arange(2, values.shape[1] + 2))
    order = np.lexsort([gains, -scores], axis=1)
    reached = (np.take_along_axis(gains, order, axis=1) * discount).sum(axis=1)
    best = (-np.sort(-gains, axis=1) * discount).sum(axis=1)
    return np.asarray(np.divide(reached, best, out=np.zeros(len(best)), where=best > 0))


def _predicted(contender: Contender, train: Ratings, asked: Ratings, seed: int) -> Floats:
    kind = rating_model(contender.model)
    model = kind(contender.settings_of(kind))
    model.fit(train, seed=seed)
    return model.predict(asked.users, asked.items, asked.contexts)
