"""Who did what before and after a moment, as masks over a corpus: numpy and Arrow, no loop over rows."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.inputs.arrays import contiguous

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def codes(values: Any, known: Any) -> Rows:
    """Return the position of each value in `known`, -1 where it is not there: int64 `[num_rows]`."""
    found = pc.index_in(values, value_set=contiguous(known))
    return np.asarray(pc.fill_null(contiguous(found), -1), dtype=np.int64)


def incidence(rows: Rows, columns: Rows, shape: tuple[int, int]) -> Mask:
    """Return a mask with the given cells set; a negative row or column is left out."""
    mask = np.zeros(shape, dtype=bool)
    inside = (rows >= 0) & (columns >= 0)
    mask[rows[inside], columns[inside]] = True
    return mask


def spans(starts: Rows, stops: Rows) -> tuple[Rows, Rows]:
    """Return all integers of the half-open ranges, and which range each is of: both `[total]`."""
    lengths = np.maximum(stops - starts, 0)
    owner = np.repeat(np.arange(len(starts)), lengths)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within, owner


@dataclass(frozen=True)
class Timeline:
    """Events in order of time, and the same grouped by user.

    Attributes:
        items: item of each event, `[num_events]`.
        values: value of each event, NaN where there is none, `[num_events]`.
        by_user: events ordered by (user, time), `[num_events]`.
        place: where each event stands in `by_user`.
        start: place of the first event of the same user.
        key: user and milliseconds as one number that grows along `by_user`, `[num_events]`; users are two spans apart.
        span: milliseconds from the first event to the last, plus one.
    """

    items: pa.Array
    values: NDArray[np.float32]
    by_user: Rows
    place: Rows
    start: Rows
    key: Rows
    span: int

    @classmethod
    def of(cls, users: Any, items: Any, values: Any, moments: Any) -> "Timeline":
        """Group events, given in order of time."""
        user = np.asarray(contiguous(users).dictionary_encode().indices, dtype=np.int64)
        by_user = np.argsort(user, kind="stable")
        place = np.empty_like(by_user)
        place[by_user] = np.arange(len(by_user))
        counts = np.bincount(user, minlength=1)
        start = np.cumsum(counts) - counts
        milliseconds = np.asarray(contiguous(moments).cast(pa.int64()), dtype=np.int64) // 1_000
        span = int(milliseconds[-1] - milliseconds[0]) + 1 if len(milliseconds) else 1
        key = user * 2 * span + milliseconds - milliseconds[:1]
        value = np.asarray(pc.fill_null(pc.cast(contiguous(values), pa.float32()), np.nan), dtype=np.float32)
        return cls(contiguous(items), value, by_user, place, start[user], key[by_user], span)

    def before(self, events: Rows, corpus: Any) -> Mask:
        """Return what the user of each event had done before it, `[num_queries, num_items]`."""
        places, owner = spans(self.start[events], self.place[events])
        items = codes(self.items.take(pa.array(self.by_user[places])), corpus)
        return incidence(owner, items, (len(events), len(corpus)))

    def following(self, events: Rows, corpus: Any, *, within: timedelta) -> tuple[Mask, NDArray[np.float32]]:
        """Return what the user of each event did from it on, for a while, and the values.

        Returns:
            Mask and values (NaN where there is none), both `[num_queries, num_items]`.
        """
        places = self.place[events]
        length = min(within // timedelta(milliseconds=1), self.span)
        stop = np.searchsorted(self.key, self.key[places] + length, side="right")
        found, owner = spans(places, np.maximum(stop, places + 1))
        rows = self.by_user[found]
        items = codes(self.items.take(pa.array(rows)), corpus)
        shape = (len(events), len(corpus))
        values = np.full(shape, np.nan, dtype=np.float32)
        inside = items >= 0
        values[owner[inside], items[inside]] = self.values[rows[inside]]
        return incidence(owner, items, shape), values
