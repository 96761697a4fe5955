"""Batches of in-memory arrays, and which state of its user a training row is seen from."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Rows = NDArray[np.int64]


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
        back: Rows = (rng.random(len(rows)) * (furthest + 1)).astype(np.int64)
        back *= rng.random(len(rows)) < self.share
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

    def num_batches(self, batch_size: int) -> int:
        """Return how many batches an epoch has."""
        lengths = np.diff(self.edges)
        return int((lengths // np.minimum(batch_size, lengths)).sum())

    def batches(self, batch_size: int, rng: np.random.Generator) -> list[Rows]:
        """Return the rows of each batch of an epoch; a period's last, partial batch is left out."""
        batches: list[Rows] = []
        for low, high in pairwise(self.edges.tolist()):
            rows = low + rng.permutation(high - low)
            size = min(batch_size, high - low)
            batches += [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
        return [batches[number] for number in rng.permutation(len(batches))]


def retrieval_batches(
    queries: Arrays,
    items: Arrays,
    states: EarlierStates,
    periods: Periods,
    *,
    batch_size: int,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """Yield one epoch of batches for the two-tower model.

    Args:
        queries: query inputs of the labels, `[num_rows, ...]`, in order of time.
        items: item inputs of the labels, `[num_rows, ...]`.
        states: which state of its user a row is seen from.
        periods: which rows may share a batch, and their items' sampling probabilities.
        batch_size: rows a step.
        rng: decides the order of the rows and the states.
    """
    for batch in periods.batches(batch_size, rng):
        rows = np.sort(batch)  # neighbours in memory are read together
        from_rows = states.draw(rows, rng)
        inputs = {name: values[from_rows] for name, values in queries.items()}
        inputs |= {name: values[rows] for name, values in items.items()}
        yield Batch({**inputs, "log_q": periods.log_q[rows]}, np.zeros(len(rows), dtype=np.float32))
