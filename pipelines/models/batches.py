"""Batches of in-memory arrays, and which state of its user a training row is seen from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.negatives import Negatives, OwnItems
from pipelines.models.periods import Rows

Arrays = dict[str, NDArray[Any]]


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


def retrieval_batches(
    queries: Arrays,
    items: Arrays,
    states: EarlierStates,
    negatives: Negatives,
    *,
    batch_size: int,
    rng: np.random.Generator,
    start: int = 0,
    own: OwnItems | None = None,
) -> Iterator[Batch]:
    """Yield the batches of one epoch for the two-tower model.

    Item inputs and `log_q` have the rows of the batch first, in the order of the queries, then further negatives.

    Args:
        queries: query inputs of the labels, `[num_rows, ...]`, in order of time.
        items: item inputs of the labels, `[num_rows, ...]`.
        states: which state of its user a row is seen from.
        negatives: which rows may share a batch, which items come beside theirs, and all their probabilities.
        batch_size: rows a step.
        rng: decides the order of the rows, the states and further negatives.
        start: the first batch wanted; those before it are drawn all the same, so that `rng` gives the same ones.
        own: adds the input `own`: items of a batch that its users used, bool `[batch, num_columns]`.
    """
    for number, batch in enumerate(negatives.periods.batches(batch_size, rng)):
        rows = np.sort(batch)  # neighbours in memory are read together
        from_rows = states.draw(rows, rng)
        columns = negatives.columns(rows, rng)
        if number < start:
            continue
        inputs = {name: values[from_rows] for name, values in queries.items()}
        inputs |= {name: values[columns] for name, values in items.items()}
        inputs["log_q"] = negatives.log_q(columns, num_own=len(rows))
        if own is not None:
            inputs["own"] = own.mask(rows, columns)
        yield Batch(inputs, np.zeros(len(rows), dtype=np.float32))
