"""Ratings that a context moves, and choices it decides, as much as is asked for."""

import numpy as np

from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Ratings
from pipelines.models.sequences import Sequences

SIZES = (4, 2)


def moved(by: str, *, effect: float = 1.0, num_ratings: int = 12_000) -> tuple[Ratings, Ratings]:
    """Return ratings to learn from, and others, that the second context moves by `effect` up or down.

    Args:
        by: `global` moves all alike, `item` and `user` each of them up or down.
        effect: 0 is none.
        num_ratings: of both.
    """
    rng, num_users, num_items = np.random.default_rng(0), 100, 40
    users, items = rng.integers(0, num_users, num_ratings), rng.integers(0, num_items, num_ratings)
    codes = np.stack([rng.integers(0, size, num_ratings) for size in SIZES], axis=1)
    signs = {"global": np.ones(num_ratings), "item": np.where(items % 2, 1, -1), "user": np.where(users % 2, 1, -1)}
    level = 3 + rng.normal(0, 0.3, num_users)[users] + rng.normal(0, 0.3, num_items)[items]
    values = level + effect * signs[by] * (2 * codes[:, 1] - 1) + rng.normal(0, 0.3, num_ratings)
    ratings = Ratings(users, items, values, num_users, num_items, contexts=Contexts(codes, SIZES))
    return ratings.take(np.arange(0, num_ratings, 2)), ratings.take(np.arange(1, num_ratings, 2))


def chosen(*, effect: float, num_events: int = 20_000, num_users: int = 400, num_items: int = 200) -> Sequences:
    """Return choices among 20 groups of items, by the taste of the user and what the part of the day prefers.

    Args:
        effect: deviation of the log odds of a group at a part of the day; of a user's taste it is 1. 0 is none.
        num_events: a minute apart.
        num_users: who choose.
        num_items: of all groups, within which some are chosen more often.
    """
    rng, num_groups = np.random.default_rng(0), 20
    users, times = rng.integers(0, num_users, num_events), 60 * np.arange(num_events)
    contexts = Contexts.at(times)
    odds = (
        rng.normal(0, 1, (num_users, num_groups))[users]
        + effect * rng.normal(0, 1, (4, num_groups))[contexts.codes[:, 0]]
    )
    group = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)
    size = num_items // num_groups
    items = group * size + (size * rng.random(num_events) ** 1.5).astype(np.int64)
    return Sequences.of(users, items, num_users=num_users, num_items=num_items, times=times, contexts=contexts)
