"""How often each item is drawn, estimated from the stream of labels while a model learns from it."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # odd, one a hash


class StreamedFrequencies:
    """The share of labels that are of an item, from the gaps between its labels: no pass over the data, no vocabulary.

    After Yi and others 2019 (Sampling-bias-corrected neural modeling, algorithm 2): hashed by its id, an item has a
    cell that knows when it last came and a moving average of the gaps since; one over the average gap is the share.
    Items that meet in a cell look more frequent, so of several hashes the longest gap counts. Unlike there, time is
    counted in labels, not in batches, so that an item of every batch is not taken for one that comes once a batch; and
    averages are divided by the weight that was observed so far (as Adam's are), so that nothing is assumed at first.

    Args:
        num_cells: cells of each hash; several times as many as items keeps collisions rare.
        rate: weight of the newest gap of an item. A smaller one is steadier, a greater one follows changes sooner:
            after about one over the rate labels of the item.
    """

    def __init__(self, num_cells: int, rate: float) -> None:
        shape = (len(MULTIPLIERS), num_cells)
        self.rate = rate
        self.state: dict[str, NDArray[np.float64]] = {
            "clock": np.zeros(1), "last": np.zeros(shape), "gap": np.zeros(shape), "weight": np.zeros(shape),
        }  # fmt: skip
        """All that is learnt, changed in place: labels seen, and of each cell the last label, average gap, weight."""

    def observe(self, items: NDArray[np.integer]) -> None:
        """Take in the next labels in order, item ids `[num_labels]`."""
        if not len(items):
            return
        moments = self.state["clock"] + 1 + np.arange(len(items))
        for number, cells in enumerate(self._cells(items)):
            self._observe(number, cells, moments)
        self.state["clock"] += len(items)

    def shares(self, items: NDArray[np.integer]) -> Floats:
        """Return the probability that a label is of each item, `[num_items]`; 0 for one that never came."""
        numbers, cells = np.arange(len(MULTIPLIERS))[:, None], self._cells(items)
        gap, weight = self.state["gap"][numbers, cells], self.state["weight"][numbers, cells]
        longest = np.divide(gap, weight, out=np.full(gap.shape, np.inf), where=weight > 0).max(axis=0)
        return np.asarray(1 / longest)

    def _observe(self, number: int, cells: Ints, moments: Floats) -> None:
        """Move the averages of one hash; several labels of a cell count one after the other."""
        last, gap, weight = (self.state[name][number] for name in ("last", "gap", "weight"))
        order = np.argsort(cells, kind="stable")
        cell, moment = cells[order], moments[order]
        start = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
        count = np.diff(np.r_[start, len(cell)])
        before = np.roll(moment, 1)
        before[start] = last[cell[start]]
        later = np.repeat(start + count, count) - 1 - np.arange(len(cell))  # labels of the same cell still to come
        gaps = np.add.reduceat(self.rate * (1 - self.rate) ** later * (moment - before), start)
        touched, kept = cell[start], (1 - self.rate) ** count
        gap[touched] = kept * gap[touched] + gaps
        weight[touched] = kept * weight[touched] + 1 - kept
        last[touched] = moment[start + count - 1]

    def _cells(self, items: NDArray[np.integer]) -> Ints:
        """Return the cell of each item by each hash, `[num_hashes, num_items]`: multiply, and keep the upper bits."""
        mixed = MULTIPLIERS[:, None] * items.astype(np.uint64)
        return ((mixed >> np.uint64(32)) % np.uint64(self.state["gap"].shape[1])).astype(np.int64)
