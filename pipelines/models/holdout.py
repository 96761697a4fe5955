"""A temporal holdout as masks, and what ranked lists are worth on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.contracts import EVENT_TIMESTAMP
from pipelines.models import exposure, metrics
from pipelines.models.candidates import Mask, Rows
from pipelines.models.cold_start import NEW_ITEMS, NEW_USERS, SPARSE_USERS
from pipelines.models.interactions import codes, incidence

BEYOND_K = 10  # k of what is measured beyond accuracy
TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Holdout:
    """Users at a cut in time, what they had seen, and what they then used for the first time.

    Attributes:
        users: `[num_users]`, each with at least one relevant item.
        items: the corpus known at the cut, with features as of it, `[num_items]`.
        seen: events known before the cut, `[num_users, num_items]`.
        relevant: items used in the window and not seen, same shape.
        popularity: events of each item before the cut, `[num_items]`.
        num_events: events of each user before the cut, `[num_users]`.
        new_items: items first used after the training window: models know them by content alone, `[num_items]`.
        sparse_events: users with at most so many events before the cut, and at least one, are sparse.
    """

    users: pa.Array
    items: pa.Table
    seen: Mask
    relevant: Mask
    popularity: NDArray[np.float64]
    num_events: Rows
    new_items: Mask
    sparse_events: int

    @classmethod
    def of(
        cls,
        before: pa.Table,
        window: pa.Table,
        items: pa.Table,
        users: pa.Array,
        *,
        trained_until: datetime | None = None,
        sparse_events: int = 5,
    ) -> "Holdout":
        """Build the masks.

        Args:
            before: `user_id`, `item_id` and, where `trained_until` is given, `event_timestamp` of the events known
                before the cut.
            window: `user_id`, `item_id` of the events after it.
            items: the corpus at the cut.
            users: who to measure; those without a relevant item are left out.
            trained_until: when the training window ended; None is at the cut.
            sparse_events: see the attributes.
        """
        ids = items["item_id"].combine_chunks()
        shape = (len(users), len(ids))
        item_before = codes(before["item_id"], ids)
        user_before = codes(before["user_id"], users)
        seen = incidence(user_before, item_before, shape)
        relevant = incidence(codes(window["user_id"], users), codes(window["item_id"], ids), shape) & ~seen
        kept = relevant.any(axis=1)
        popularity = np.bincount(item_before[item_before >= 0], minlength=len(ids)).astype(np.float64)
        num_events = np.bincount(user_before[user_before >= 0], minlength=len(users))[kept]
        learnt = item_before >= 0
        if trained_until is not None:
            learnt &= np.asarray(pc.less(before[EVENT_TIMESTAMP], pa.scalar(trained_until, TIMESTAMP)))
        new_items = np.bincount(item_before[learnt], minlength=len(ids)) == 0
        members = users.filter(pa.array(kept))
        return cls(members, items, seen[kept], relevant[kept], popularity, num_events, new_items, sparse_events)

    @property
    def head(self) -> Mask:
        """The fewest items that hold half of all events before the cut, `[num_items]`."""
        return metrics.head_items(self.popularity)

    def item_slices(self) -> dict[str, Mask]:
        """Return which items count as relevant in each slice by item."""
        head, new = self.head, self.new_items
        return {NEW_ITEMS: new, "head items": head, "tail items": ~head & ~new}

    def user_slices(self) -> dict[str, Mask]:
        """Return which users each slice by user holds."""
        new = self.num_events == 0
        sparse = ~new & (self.num_events <= self.sparse_events)
        return {NEW_USERS: new, SPARSE_USERS: sparse, "existing users": ~new}

    def content(self) -> NDArray[np.float32]:
        """Return unit vectors of the items' categories, `[num_items, num_categories]`; zeros where there are none."""
        vectors = self.categories()
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0), dtype=np.float32)

    def category_shares(self) -> NDArray[np.float32]:
        """Return the share of each category in an item, all equal, `[num_items, num_categories]`."""
        vectors = self.categories()
        return np.asarray(vectors / np.maximum(vectors.sum(axis=1, keepdims=True), 1.0), dtype=np.float32)

    def categories(self) -> NDArray[np.float32]:
        """Return 1 where an item is of a category, `[num_items, num_categories]`."""
        lists = self.items["categories"].combine_chunks()
        encoded = lists.flatten().dictionary_encode()
        rows = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
        vectors = np.zeros((len(lists), max(len(encoded.dictionary), 1)), dtype=np.float32)
        vectors[rows, np.asarray(encoded.indices.fill_null(0), dtype=np.int64)] = 1.0
        return vectors


@dataclass(frozen=True)
class Measured:
    """What one system's lists are worth.

    Attributes:
        overall: metric -> mean over users, or value over all lists.
        slices: slice -> metric -> value, `num_users` among them.
        per_user: accuracy metric -> `[num_users]`.
        deciles: share of the first 10 recommendations by popularity decile, most popular first, `[10]`.
    """

    overall: dict[str, float]
    slices: dict[str, dict[str, float]]
    per_user: dict[str, NDArray[Any]]
    deciles: list[float]


def measure(holdout: Holdout, top: Rows, ks: Sequence[int]) -> Measured:
    """Measure ranked lists, `[num_users, max(ks)]`, -1 where a list ends."""
    per_user = metrics.accuracy(metrics.hits(top, holdout.relevant), holdout.relevant.sum(axis=1), ks)
    overall = {name: float(values.mean()) for name, values in per_user.items()}
    first = top[:, :BEYOND_K]
    overall |= exposure.beyond_accuracy(
        top,
        popularity=holdout.popularity,
        seen=holdout.seen,
        content=holdout.content(),
        shares=holdout.category_shares(),
        k=BEYOND_K,
    )
    slices = {name: _mean(per_user, rows) for name, rows in holdout.user_slices().items()}
    for name, of_slice in holdout.item_slices().items():
        relevant = holdout.relevant & of_slice
        values = metrics.accuracy(metrics.hits(top, relevant), relevant.sum(axis=1), ks)
        slices[name] = _mean(values, np.asarray(relevant.any(axis=1)))
    return Measured(overall, slices, per_user, decile_shares(first[first >= 0], holdout.popularity))


def decile_shares(items: Rows, popularity: NDArray[np.float64]) -> list[float]:
    """Return the share of `items` in each tenth of the corpus, most popular tenth first."""
    order = np.argsort(-popularity, kind="stable")
    decile = np.empty(len(order), dtype=np.int64)
    decile[order] = np.arange(len(order)) * 10 // max(len(order), 1)
    counts = np.bincount(decile[items], minlength=10)
    return [float(share) for share in counts / max(counts.sum(), 1)]


def _mean(values: Mapping[str, NDArray[Any]], rows: Mask) -> dict[str, float]:
    chosen = {name: float(array[rows].mean()) if rows.any() else 0.0 for name, array in values.items()}
    return {**chosen, "num_users": float(rows.sum())}
