"""Ratings to find neighbours in, and those neighbours whose place is certain."""

from typing import Any

import numpy as np

from pipelines.models.sequences import Sequences


def ratings(num_users: int, num_items: int, share: float) -> Sequences:
    """Ratings of one to five, of which some are exactly their user's or item's mean."""
    rng = np.random.default_rng(4)
    users, items = (rng.random((num_users, num_items)) < share).nonzero()
    values = rng.integers(1, 6, len(users)).astype(np.float32)
    return Sequences.of(users, items, num_users=num_users, num_items=num_items, values=values)


def clear(near: Any, num_nearest: int) -> np.ndarray:
    """Similarities of neighbours whose place rounding cannot change; the last of a row may be a tie."""
    dense = near.toarray()
    last = -np.sort(-dense, axis=1)[:, num_nearest - 1 : num_nearest]
    return np.where(dense > last + 1e-5, dense, 0)
