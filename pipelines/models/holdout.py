"""A temporal holdout as masks, and what ranked lists are worth on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.models import metrics
from pipelines.models.candidates import Mask, Rows
from pipelines.models.interactions import codes, incidence

BEYOND_K = 10  # k of coverage, novelty, diversity and popularity share


@dataclass(frozen=True)
class Holdout:
    """Users at a cut in time, what they had seen, and what they then used for the first time.

    Attributes:
        users: `[num_users]`, each with at least one relevant item.
        items: the corpus known at the cut, with features as of it, `[num_items]`.
        seen: events known before the cut, `[num_users, num_items]`.
        relevant: items used in the window and not seen, same shape.
        popularity: events of each item before the cut, `[num_items]`.
        new_users: users without an event before the cut, `[num_users]`.
    """

    users: pa.Array
    items: pa.Table
    seen: Mask
    relevant: Mask
    popularity: NDArray[np.float64]
    new_users: Mask

    @classmethod
    def of(cls, before: pa.Table, window: pa.Table, items: pa.Table, users: pa.Array) -> "Holdout":
        """Build the masks.

        Args:
            before: `user_id`, `item_id` of the events known before the cut.
            window: the same of the events after it.
            items: the corpus at the cut.
            users: who to measure; those without a relevant item are left out.
        """
        ids = items["item_id"].combine_chunks()
        shape = (len(users), len(ids))
        item_before = codes(before["item_id"], ids)
        user_before = codes(before["user_id"], users)
        seen = incidence(user_before, item_before, shape)
        relevant = incidence(codes(window["user_id"], users), codes(window["item_id"], ids), shape) & ~seen
        kept = relevant.any(axis=1)
        popularity = np.bincount(item_before[item_before >= 0], minlength=len(ids)).astype(np.float64)
        with_events = np.bincount(user_before[user_before >= 0], minlength=len(users)) > 0
        return cls(users.filter(pa.array(kept)), items, seen[kept], relevant[kept], popularity, ~with_events[kept])

    @property
    def head(self) -> Mask:
        """The fewest items that hold half of all events before the cut, `[num_items]`."""
        return metrics.head_items(self.popularity)

    def item_slices(self) -> dict[str, Mask]:
        """Return which items count as relevant in each slice by item."""
        head = self.head
        return {"new items": self.popularity == 0, "head items": head, "tail items": ~head & (self.popularity > 0)}

    def user_slices(self) -> dict[str, Mask]:
        """Return which users each slice by user holds."""
        return {"new users": self.new_users, "existing users": ~self.new_users}

    def content(self) -> NDArray[np.float32]:
        """Return unit vectors of the items' categories, `[num_items, num_categories]`."""
        lists = self.items["categories"].combine_chunks()
        encoded = lists.flatten().dictionary_encode()
        rows = np.asarray(pa.compute.list_parent_indices(lists), dtype=np.int64)
        vectors = np.zeros((len(lists), max(len(encoded.dictionary), 1)), dtype=np.float32)
        vectors[rows, np.asarray(encoded.indices.fill_null(0), dtype=np.int64)] = 1.0
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0), dtype=np.float32)


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
    overall |= {
        f"coverage_at_{BEYOND_K}": metrics.coverage(first, holdout.items.num_rows),
        f"novelty_at_{BEYOND_K}": metrics.novelty(first, holdout.popularity),
        f"diversity_at_{BEYOND_K}": metrics.intra_list_diversity(first, holdout.content()),
        f"popularity_share_at_{BEYOND_K}": metrics.popularity_share(first, holdout.head),
    }
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
