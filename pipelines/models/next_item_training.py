"""The packed batches a next-item model is trained on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.models.packing import UNKNOWN, Arrays, Packed, Steps, pack, training_windows
from pipelines.models.step_loops import Step


@dataclass(frozen=True)
class Batches:
    """The batches of any epoch, a function of seed and epoch alone.

    Attributes:
        steps: what to learn from.
        length: positions of a row.
        batch_size: rows of a batch; the last is filled with padding.
        seed: with the epoch's number, decides windows, order and negatives.
        num_negatives: shared negatives of a batch; 0 gives none.
        cumulative: cumulative probability of each item as a negative, `[num_items]`; None draws them from the batch.
        timed: whether the model reads times.
        hidden_times: share of windows whose times the model does not get to see.
    """

    steps: Steps
    length: int
    batch_size: int
    seed: int
    num_negatives: int = 0
    cumulative: NDArray[np.float64] | None = None
    timed: bool = False
    hidden_times: float = 0.0

    def of(self, epoch: int, *, start: int = 0) -> tuple[int, Iterator[Arrays]]:
        """Return the number of batches of an epoch, and those from `start` on."""
        rng = np.random.default_rng([self.seed, epoch])
        packed = pack(*training_windows(self.steps, self.length, rng), self.length)
        order = rng.permutation(len(packed))
        count = -(-len(packed) // self.batch_size)
        return count, (self._batch(packed, order, epoch, index) for index in range(start, count))

    def steps_of(self, epoch: int, start: int) -> tuple[int, Iterator[Step]]:
        """Return the same as Keras takes it, for `fit_epochs`."""
        count, rest = self.of(epoch, start=start)
        return count, ((arrays,) for arrays in rest)

    def _batch(self, packed: Packed, order: NDArray[np.int64], epoch: int, index: int) -> Arrays:
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        arrays = self.steps.arrays(packed.rows(rows, size=self.batch_size), timed=self.timed)
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.num_negatives:
            arrays["negatives"] = self._negatives(arrays, rng)
        if self.timed and self.hidden_times:
            hidden = rng.random(arrays["windows"].max() + 1)[arrays["windows"]] < self.hidden_times
            for name in ("input_times", "target_times"):
                arrays[name] = np.where(hidden, np.int32(UNKNOWN), arrays[name])
        return arrays

    def _negatives(self, arrays: Arrays, rng: np.random.Generator) -> NDArray[np.int32]:
        if self.cumulative is None:
            return np.asarray(rng.choice(arrays["targets"][arrays["windows"] > 0], self.num_negatives), np.int32)
        return np.searchsorted(self.cumulative[:-1], rng.random(self.num_negatives)).astype(np.int32)
