"""Batches of in-memory arrays, and which state of its user a training row is seen from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Rows = NDArray[np.int64]
WIDTH_STEP = 64  # a step is compiled anew, or runs apart, for each width of its matrix of scores


@dataclass(frozen=True)
class Batch:
    """Rows for one step: input arrays, targets and sample weights, each `[batch, ...]`."""

    inputs: Arrays
    targets: Any
    weights: Any = None


@dataclass(frozen=True)
class EarlierStates:
    """Lets a label be predicted from an earlier state of its user, as of one of their previous labels.

    A live query is answered from features as of a session's start, of the last materialization, or of a cut in
    time, while a label's own features hold everything up to the event just before it. Training on both makes a model
    that says what a user will do over a while, not only next.

    Attributes:
        by_user: rows ordered by (user, time), `[num_rows]`.
        place: where each row stands in `by_user`, `[num_rows]`.
        position: number of earlier rows of the same user, `[num_rows]`.
        share: share of rows that are seen from an earlier state.
        longest: how many labels back a state may be.
    """

    by_user: Rows
    place: Rows
    position: Rows
    share: float
    longest: int

    @classmethod
    def of(cls, users: NDArray[np.integer[Any]], *, share: float, longest: int) -> "EarlierStates":
        """Prepare for rows in order of time, `users` `[num_rows]`."""
        num_rows = len(users)
        by_user = np.argsort(users, kind="stable")
        new_user = np.r_[True, np.diff(users[by_user]) != 0] if num_rows else np.zeros(0, dtype=bool)
        start = np.maximum.accumulate(np.where(new_user, np.arange(num_rows), 0))
        place = np.empty(num_rows, dtype=np.int64)
        place[by_user] = np.arange(num_rows)
        position = place - start[place]
        return cls(by_user, place, position, share, longest)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return the row whose query features stand for each of `rows`: itself, or an earlier one of its user."""
        furthest = np.minimum(self.position[rows], self.longest)
        back: Rows = (rng.random(rows.shape) * (furthest + 1)).astype(np.int64)
        back *= rng.random(rows.shape) < self.share
        return np.asarray(self.by_user[self.place[rows] - back])


@dataclass(frozen=True)
class Periods:
    """Equal stretches of the rows in order of time; a batch is of one period.

    So the negatives of a label are items as they were around its time. Negatives of other times would carry the
    popularity of other times, and the model could not learn what current popularity is worth.

    Attributes:
        edges: first row of each period and the end, `[num_periods + 1]`.
        log_q: log probability that a row's item is drawn in its period, float32 `[num_rows]`.
    """

    edges: Rows
    log_q: NDArray[np.float32]

    @classmethod
    def of(cls, items: NDArray[np.integer[Any]], *, num_periods: int, batch_size: int) -> "Periods":
        """Divide rows in order of time, `items` `[num_rows]`; no period is shorter than a batch."""
        num_rows = len(items)
        count = max(1, min(num_periods, num_rows // batch_size))
        edges = np.linspace(0, num_rows, count + 1).astype(np.int64)
        period = np.repeat(np.arange(count), np.diff(edges))
        cell = period * (int(items.max(initial=0)) + 1) + items
        _, position, counts = np.unique(cell, return_inverse=True, return_counts=True)
        log_q = np.log(counts[position] / np.diff(edges)[period])
        return cls(edges, log_q.astype(np.float32))

    def batches(self, batch_size: int, rng: np.random.Generator) -> Rows:
        """Return the rows of each batch of an epoch, `[num_batches, batch]`; a period's partial batch is left out."""
        parts = []
        for low, high in pairwise(self.edges.tolist()):
            rows = low + rng.permutation(high - low)
            size = min(batch_size, high - low)
            parts.append(rows[: len(rows) // size * size].reshape(-1, size))
        batches = np.concatenate(parts)
        return np.asarray(batches[rng.permutation(len(batches))])


@dataclass(frozen=True)
class Negatives:
    """The distinct items of each batch: what its rows are told apart from.

    Attributes:
        own: place of each row's item among its batch's distinct items, int32 `[num_batches, batch]`.
        rows: a row of the batch with the item, int32 `[num_batches, width]`; 0 where there are no more items.
        counts: how many rows of the batch have the item, int32 `[num_batches, width]`; 0 where there are no more.
    """

    own: NDArray[np.int32]
    rows: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, items: NDArray[np.integer[Any]]) -> "Negatives":
        """Find them in `items` `[num_batches, batch]`; the width is that of the fullest batch, rounded up."""
        num_batches, batch = items.shape
        order = np.argsort(items, axis=1, kind="stable")
        ordered = np.take_along_axis(items, order, axis=1)
        first = np.ones(items.shape, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        place = np.cumsum(first, axis=1) - 1
        own = np.empty(items.shape, dtype=np.int32)
        np.put_along_axis(own, order, place.astype(np.int32), axis=1)
        width = min(batch, -(-int(place.max(initial=0) + 1) // WIDTH_STEP) * WIDTH_STEP)
        rows = np.zeros((num_batches, width), dtype=np.int32)
        counts = np.zeros((num_batches, width), dtype=np.int32)
        number = np.arange(num_batches)[:, None]
        rows[np.broadcast_to(number, items.shape)[first], place[first]] = order[first]
        np.add.at(counts, (number, place), 1)
        return cls(own, rows, counts)


@dataclass(frozen=True)
class Labels:
    """The encoded labels that steps are made of; where they lie on the device, a step only names rows.

    Attributes:
        arrays: query inputs, item inputs and `log_q` by name, `[num_rows, ...]` each, in order of time.
        of_queries: names of the query inputs.
    """

    arrays: Arrays
    of_queries: frozenset[str]

    @classmethod
    def of(cls, queries: Arrays, items: Arrays, periods: Periods) -> "Labels":
        """Put both sides of the labels together."""
        return cls({**queries, **items, "log_q": periods.log_q}, frozenset(queries))

    def inputs(self, arrays: dict[str, Any], named: dict[str, Any], take: Callable[[Any, Any], Any]) -> dict[str, Any]:
        """Return what the two-tower model takes.

        Args:
            arrays: of this class, or copies of them on a device.
            named: a step of `RetrievalSteps`.
            take: gathers rows of an array.
        """
        rows, from_rows = named["rows"], named["from_rows"]
        inputs = {name: take(a, from_rows if name in self.of_queries else rows) for name, a in arrays.items()}
        return inputs | {name: values for name, values in named.items() if name not in ("rows", "from_rows")}


@dataclass(frozen=True)
class RetrievalSteps:
    """The steps of any epoch of the two-tower model, a function of seed and epoch alone.

    Attributes:
        labels: what the steps are made of.
        states: which state of its user a row is seen from.
        periods: which rows may share a batch.
        batch_size: rows a step.
        seed: with the epoch's number, decides the order of the rows and the states.
        filled: whether a step holds its inputs; otherwise it names rows.
    """

    labels: Labels
    states: EarlierStates
    periods: Periods
    batch_size: int
    seed: int
    filled: bool = True

    def of(self, epoch: int, start: int) -> tuple[int, Iterator[tuple[Arrays]]]:
        """Return the number of steps of an epoch, and those from the first on, for `fit_epochs`.

        The rows of a step are `rows`, those that the queries are seen from `from_rows`, both int32 `[batch]`.
        """
        rng = np.random.default_rng([self.seed, epoch])
        rows = np.sort(self.periods.batches(self.batch_size, rng), axis=1)  # neighbours in memory are read together
        from_rows = self.states.draw(rows, rng)
        negatives = Negatives.of(np.asarray(self.labels.arrays["item"])[rows])
        named = {
            "rows": rows.astype(np.int32), "from_rows": from_rows.astype(np.int32), "own": negatives.own,
            "negative_rows": negatives.rows, "negative_counts": negatives.counts,
        }  # fmt: skip
        return len(rows), (self._step({name: v[i] for name, v in named.items()}) for i in range(start, len(rows)))

    def _step(self, named: Arrays) -> tuple[Arrays]:
        return (
            self.labels.inputs(self.labels.arrays, named, lambda values, rows: values[rows]) if self.filled else named,
        )
