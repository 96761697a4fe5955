"""Each item of a batch once: an item that stands in several places is one negative, weighed by their number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH_STEP = 64  # a step is compiled anew, or runs apart, for each width of its matrix of scores


@dataclass(frozen=True)
class DistinctItems:
    """The distinct items of each batch: what its rows are told apart from.

    Which of an item's columns stands for it is drawn. Columns are in order of time and the features of an item change
    with it: always taking the first would give every negative the item's state at an earlier time than the positives
    have, which a model would learn instead of tastes.

    Attributes:
        own: place of each column's item among its batch's distinct items, int32 `[num_batches, num_columns]`.
        columns: a column of the batch with the item, int32 `[num_batches, width]`; 0 where there are no more items.
        counts: how many columns of the batch have the item, int32 `[num_batches, width]`; 0 where there are no more.
    """

    own: NDArray[np.int32]
    columns: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def of(
        cls, items: NDArray[np.integer[Any]], rng: np.random.Generator, *, width: int | None = None
    ) -> "DistinctItems":
        """Find them in `items` `[num_batches, num_columns]`.

        Args:
            items: of each batch.
            rng: decides which column stands for an item.
            width: at least `width_for(items)`; None takes that.
        """
        num_batches = len(items)
        shuffled = np.argsort(rng.random(items.shape, dtype=np.float32), axis=1)
        order = np.argsort(np.take_along_axis(items, shuffled, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(shuffled, order, axis=1)
        ordered = np.take_along_axis(items, order, axis=1)
        first = np.ones(items.shape, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        place = np.cumsum(first, axis=1) - 1
        own = np.empty(items.shape, dtype=np.int32)
        np.put_along_axis(own, order, place.astype(np.int32), axis=1)
        width = width_for(items) if width is None else width
        columns = np.zeros((num_batches, width), dtype=np.int32)
        counts = np.zeros((num_batches, width), dtype=np.int32)
        number = np.arange(num_batches)[:, None]
        columns[np.broadcast_to(number, items.shape)[first], place[first]] = order[first]
        np.add.at(counts, (number, place), 1)
        return cls(own, columns, counts)


def width_for(items: NDArray[np.integer[Any]]) -> int:
    """Return the number of distinct items of the fullest batch of `[num_batches, num_columns]`, rounded up."""
    ordered = np.sort(items, axis=1)
    fullest = 1 + int((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1).max(initial=0))
    return min(int(items.shape[1]), -(-fullest // WIDTH_STEP) * WIDTH_STEP)
