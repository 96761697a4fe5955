"""Stretches of time that a batch does not cross."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


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
        log_q = np.empty(num_rows, dtype=np.float32)
        for low, high in pairwise(edges.tolist()):
            of_period = items[low:high]
            log_q[low:high] = np.log(np.bincount(of_period)[of_period] / (high - low))
        return cls(edges, log_q)

    def period_of(self, rows: NDArray[np.integer[Any]]) -> int:
        """Return the period of a batch's rows."""
        return int(np.searchsorted(self.edges, rows[0], side="right")) - 1

    def batches(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return the rows of each batch of an epoch, `[num_batches, batch]`; a period's partial batch is left out."""
        parts = []
        for low, high in pairwise(self.edges.tolist()):
            rows = rng.permutation(np.arange(low, high, dtype=np.int32))
            size = min(batch_size, high - low)
            parts.append(rows[: len(rows) // size * size].reshape(-1, size))
        batches = np.concatenate(parts)
        return np.asarray(batches[rng.permutation(len(batches))])
