"""The items of a batch: those of its labels, and others drawn from the catalogue; and how likely each is there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.frequencies import StreamedFrequencies
from pipelines.models.periods import Periods, Rows

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class KnownItems:
    """Items that were used before the end of each period, as they were by then.

    An item is taken from its newest label before the end of the period: features of a later one would carry the
    popularity of another time, by which a model could tell what was drawn from what was used.

    Attributes:
        edges: first row of each period and the end, `[num_periods + 1]`.
        by_first: items by their first row, as places in the order of ids, `[num_items]`.
        num_known: items used before the end of each period, `[num_periods]`.
        keys: place of the item times `stride` plus the row, sorted, `[num_rows]`.
        places: place of each row's item, `[num_rows]`.
    """

    edges: Rows
    by_first: Rows
    num_known: Rows
    keys: Rows
    places: Rows

    @classmethod
    def of(cls, items: NDArray[np.integer[Any]], edges: Rows) -> "KnownItems":
        """Prepare for rows in order of time, `items` `[num_rows]`."""
        _, first, places = np.unique(items, return_index=True, return_inverse=True)
        places = places.astype(np.int64)
        keys = np.sort(places * (len(items) + 1) + np.arange(len(items)))
        return cls(edges, np.argsort(first, kind="stable"), np.searchsorted(np.sort(first), edges[1:]), keys, places)

    @property
    def stride(self) -> int:
        """Keys from one item to the next."""
        return len(self.places) + 1

    def draw(self, period: int, count: int, rng: np.random.Generator) -> Rows:
        """Return the rows of `count` items known by the end of a period, each as likely, with replacement."""
        chosen = self.by_first[rng.integers(self.num_known[period], size=count)] * self.stride
        return np.asarray(self.keys[np.searchsorted(self.keys, chosen + self.edges[period + 1]) - 1] - chosen)

    def shares(self, rows: NDArray[np.integer[Any]], period: int) -> NDArray[np.float64]:
        """Return the share of a period's labels that are of each row's item, `[num_rows]`; 0 for none."""
        low, high = self.edges[period : period + 2]
        start = self.places[rows] * self.stride
        count = np.searchsorted(self.keys, start + high) - np.searchsorted(self.keys, start + low)
        return np.asarray(count / (high - low))


@dataclass(frozen=True)
class Negatives:
    """Which items a batch's queries are told apart from, and the log probability of each (log-Q).

    An item comes as one of the batch's labels, as often as it is popular, or as one of `num_sampled` drawn uniformly
    from the catalogue (mixed negative sampling, Yang and others 2020): so items that nobody uses are told from those
    that are, instead of keeping whatever place they were born with. The probability is that of the mixture.

    Attributes:
        items: item ids of the labels in order of time, `[num_rows]`.
        periods: which labels may share a batch.
        num_sampled: items drawn from the catalogue a batch.
        known: what they are drawn from; None where none are.
        stream: estimates how popular an item is; None counts it in the batch's period.
    """

    items: NDArray[np.integer[Any]]
    periods: Periods
    num_sampled: int = 0
    known: KnownItems | None = None
    stream: StreamedFrequencies | None = None

    @classmethod
    def of(
        cls, items: NDArray[np.integer[Any]], periods: Periods, *, num_sampled: int, stream: StreamedFrequencies | None
    ) -> "Negatives":
        """Prepare for rows in order of time, `items` `[num_rows]`."""
        known = KnownItems.of(items, periods.edges) if num_sampled else None
        return cls(items, periods, num_sampled, known, stream)

    def sampled(self, batches: NDArray[np.integer[Any]], rng: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Return the rows whose items come beside those of each batch, `[num_batches, num_sampled]`."""
        if self.known is None:
            return np.zeros((len(batches), 0), dtype=batches.dtype)
        return np.stack([self.known.draw(self.periods.period_of(b), self.num_sampled, rng) for b in batches])

    def log_q(self, columns: NDArray[np.integer[Any]], *, num_own: int) -> Floats:
        """Return the log probability of each column of a batch, float32 `[num_columns]`.

        A stream sees the batch's own labels first, so take every batch once, in order.
        """
        own = columns[:num_own]
        period = self.periods.period_of(own)
        if self.stream is not None:
            self.stream.observe(self.items[own])
            shares = self.stream.shares(self.items[columns])
        elif self.known is not None:
            shares = self.known.shares(columns, period)
        else:
            return np.asarray(self.periods.log_q[own])
        uniform = 0.0 if self.known is None else self.num_sampled / self.known.num_known[period]
        return np.asarray(np.log((num_own * shares + uniform) / len(columns)), dtype=np.float32)


class OwnItems:
    """Which items each user used in training: no hard negatives of theirs.

    Args:
        users: user ids of the labels, `[num_rows]`.
        items: item ids of the labels, `[num_rows]`.
    """

    def __init__(self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]) -> None:
        import scipy.sparse as sp

        self.users, self.items = users, items
        shape = (int(users.max(initial=0)) + 1, int(items.max(initial=0)) + 1)
        self._used = sp.csr_matrix((np.ones(len(users), dtype=bool), (users, items)), shape=shape)

    def mask(self, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]) -> Mask:
        """Return whether the user of each row used the item of each column, `[num_rows, num_columns]`."""
        item, place = np.unique(self.items[columns], return_inverse=True)
        used: Mask = self._used[self.users[rows]][:, item].toarray()
        return used[:, place]
