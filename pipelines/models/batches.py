"""Batches of in-memory arrays, and which state of its user a training row is seen from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.distinct_items import DistinctItems, width_for
from pipelines.models.encoded_rows import Arrays
from pipelines.models.negatives import Negatives, OwnItems
from pipelines.models.periods import Rows

SAMPLED = "sampled_"  # before the name of an item input: of items that no row of the batch is of
ROWS = ("rows", "from_rows", "sampled_rows")
BLOCK_STEPS = 64  # drawn together, shortly before they are taken: more than these are never held


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
        by_user: rows ordered by (user, time), int32 `[num_rows]`.
        place: where each row stands in `by_user`, int32 `[num_rows]`.
        position: number of earlier rows of the same user, int32 `[num_rows]`.
        share: share of rows that are seen from an earlier state.
        longest: how many labels back a state may be.
    """

    by_user: NDArray[np.int32]
    place: NDArray[np.int32]
    position: NDArray[np.int32]
    share: float
    longest: int

    @classmethod
    def of(cls, users: NDArray[np.integer[Any]], *, share: float, longest: int) -> "EarlierStates":
        """Prepare for rows in order of time, `users` `[num_rows]`."""
        by_user = np.argsort(users, kind="stable").astype(np.int32)
        numbers = np.arange(len(users), dtype=np.int32)
        place = np.empty_like(numbers)
        place[by_user] = numbers
        ordered = users[by_user]
        numbers[1:][ordered[1:] == ordered[:-1]] = 0
        start = np.maximum.accumulate(numbers)  # where the user of each place begins
        return cls(by_user, place, place - start[place], share, longest)

    def draw(self, rows: NDArray[np.integer[Any]], rng: np.random.Generator) -> Rows:
        """Return the row whose query features stand for each of `rows`: itself, or an earlier one of its user."""
        furthest = np.minimum(self.position[rows], self.longest)
        back: Rows = (rng.random(rows.shape) * (furthest + 1)).astype(np.int64)
        back *= rng.random(rows.shape) < self.share
        return np.asarray(self.by_user[self.place[rows] - back])


@dataclass(frozen=True)
class Labels:
    """The encoded labels that steps are made of; where they lie on the device, a step only names rows.

    Attributes:
        arrays: query and item inputs by name, `[num_rows, ...]` each, in order of time.
        of_queries: names of the query inputs.
    """

    arrays: Arrays
    of_queries: frozenset[str]

    @classmethod
    def of(cls, queries: Arrays, items: Arrays) -> "Labels":
        """Put both sides of the labels together."""
        return cls({**queries, **items}, frozenset(queries))

    def inputs(self, arrays: dict[str, Any], named: dict[str, Any], take: Callable[[Any, Any], Any]) -> dict[str, Any]:
        """Return what the two-tower model takes.

        Args:
            arrays: of this class, or copies of them on a device.
            named: a step of `RetrievalSteps`.
            take: gathers rows of an array.
        """
        rows, from_rows, sampled = named["rows"], named["from_rows"], named.get("sampled_rows")
        inputs = {name: take(a, from_rows if name in self.of_queries else rows) for name, a in arrays.items()}
        if sampled is not None:
            of_items = (name for name in arrays if name not in self.of_queries)
            inputs |= {f"{SAMPLED}{name}": take(arrays[name], sampled) for name in of_items}
        return inputs | {name: values for name, values in named.items() if name not in ROWS}


@dataclass(frozen=True)
class RetrievalSteps:
    """The steps of any epoch of the two-tower model, a function of seed and epoch, and of a stream of labels if any.

    Attributes:
        labels: what the steps are made of.
        states: which state of its user a row is seen from.
        negatives: which rows may share a batch, which items come beside theirs, and all their probabilities.
        batch_size: rows a step.
        seed: with the epoch's number, decides the order of the rows, the states and further negatives.
        filled: whether a step holds its inputs; otherwise it names rows.
        used: gives a step the items that its users used, which are no hard negatives; None leaves them out.
    """

    labels: Labels
    states: EarlierStates
    negatives: Negatives
    batch_size: int
    seed: int
    filled: bool = True
    used: OwnItems | None = None

    def of(self, epoch: int, start: int) -> tuple[int, Iterator[tuple[Arrays]]]:
        """Return the number of steps of an epoch, and those from the first on, for `fit_epochs`.

        The rows of a step are `rows`, those that the queries are seen from `from_rows`, both int32 `[batch]`; those of
        further items `sampled_rows`, int32 `[num_sampled]`. Its columns are the items of `rows`, then of these.
        """
        batches = self.negatives.periods.batches(self.batch_size, np.random.default_rng([self.seed, epoch]))
        return len(batches), self._steps(batches, epoch, start)

    def _steps(self, batches: NDArray[np.int32], epoch: int, start: int) -> Iterator[tuple[Arrays]]:
        """Yield the steps of `batches` `[num_batches, batch]` from one on."""
        blocks = range(0, len(batches), BLOCK_STEPS)
        drawn = (self._columns(batches, epoch, first)[0] for first in blocks)
        width = max(width_for(self.negatives.items[columns]) for columns in drawn)  # one, or steps are compiled anew
        for first in blocks[start // BLOCK_STEPS :]:
            columns, rng = self._columns(batches, epoch, first)
            rows = columns[:, : batches.shape[1]]
            from_rows = self.states.draw(rows, rng)
            distinct = DistinctItems.of(self.negatives.items[columns], rng, width=width)
            named = {
                "rows": rows.astype(np.int32), "from_rows": from_rows.astype(np.int32),
                "own": distinct.own[:, : rows.shape[1]], "negative_columns": distinct.columns,
                "negative_counts": distinct.counts,
            }  # fmt: skip
            for i in range(max(0, start - first), len(rows)):
                yield self._step({name: values[i] for name, values in named.items()}, columns[i])

    def _columns(
        self, batches: NDArray[np.int32], epoch: int, first: int
    ) -> tuple[NDArray[np.integer[Any]], np.random.Generator]:
        """Return the rows of a block's columns `[num_steps, num_columns]`, and what decides the rest of it."""
        rng = np.random.default_rng([self.seed, epoch, 1 + first])  # a seed that ends in 0 is the one without it
        rows = np.sort(batches[first : first + BLOCK_STEPS], axis=1)  # neighbours are read together
        return np.concatenate([rows, self.negatives.sampled(rows, rng)], axis=1), rng

    def _step(self, named: Arrays, columns: NDArray[np.integer[Any]]) -> tuple[Arrays]:
        """Complete a step; a stream takes in every one that is given out."""
        size = len(named["rows"])
        log_q = self.negatives.log_q(columns, num_own=size)
        named["log_q"] = log_q[:size]
        if len(columns) > size:
            named |= {"sampled_rows": columns[size:].astype(np.int32), f"{SAMPLED}log_q": log_q[size:]}
        if self.used is not None:
            named["used"] = self.used.mask(columns[:size], columns)
        if self.filled:
            named = self.labels.inputs(self.labels.arrays, named, lambda values, rows: values[rows])
        return (named,)
