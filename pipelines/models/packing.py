"""Sequences cut into windows and laid side by side in rows of one length, so that hardly a position is padding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.sequences import Ints, Sequences

Arrays = dict[str, NDArray[Any]]
UNKNOWN = -1


@dataclass(frozen=True)
class Packed:
    """Rows of equal length, each of one or several windows.

    Attributes:
        steps: which step of the sequences stands at each position, -1 for padding, `[num_rows, length]`.
        windows: number of the window at each position from 1, 0 for padding, same shape.
        positions: place within the window from 0, same shape.
    """

    steps: Ints
    windows: NDArray[np.int32]
    positions: NDArray[np.int32]

    def __len__(self) -> int:
        """Rows."""
        return len(self.steps)

    def rows(self, chosen: Ints, *, size: int) -> "Packed":
        """Return some rows, and rows of padding up to `size`."""
        empty = ((0, size - len(chosen)), (0, 0))
        return Packed(
            np.pad(self.steps[chosen], empty, constant_values=-1),
            np.pad(self.windows[chosen], empty),
            np.pad(self.positions[chosen], empty),
        )


@dataclass(frozen=True)
class Steps:
    """What a next-item model reads and predicts: a step knows the item before it and asks for its own.

    A user's first step reads 0, "nothing yet", so a model also learns what to say of an empty history.

    Attributes:
        offsets: row `i` holds steps `offsets[i]:offsets[i + 1]`, `[num_rows + 1]`.
        inputs: code + 1 of the item before, 0 at a row's first step, `[num_steps]`.
        targets: code of the step's own item, 0 where it is asked for, `[num_steps]`.
        input_times: seconds since 1970 of the item before, None where times are not known, `[num_steps]`.
        target_times: seconds since 1970 of the step itself, same.
    """

    offsets: Ints
    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    input_times: Ints | None = None
    target_times: Ints | None = None

    @classmethod
    def learned_from(cls, sequences: Sequences) -> "Steps":
        """Return one step for each interaction."""
        return cls._of(sequences.offsets, sequences.items, sequences.times)

    @classmethod
    def asked_by(cls, queries: Sequences) -> "Steps":
        """Return the steps of each query and, after them, the one that it asks for."""
        ends = queries.offsets[1:]
        times = None
        if queries.times is not None and queries.moments is not None:
            times = np.insert(queries.times, ends, queries.moments)
        return cls._of(queries.offsets + np.arange(len(queries) + 1), np.insert(queries.items, ends, 0), times)

    @classmethod
    def _of(cls, offsets: Ints, items: NDArray[np.int32], times: Ints | None) -> "Steps":
        firsts = offsets[:-1][np.diff(offsets) > 0]
        inputs = np.roll(items, 1) + np.int32(1)
        inputs[firsts] = 0
        input_times = None
        if times is not None:
            input_times = np.roll(times, 1)
            input_times[firsts] = times[firsts]
        return cls(offsets, inputs, items, input_times, times)

    def arrays(self, packed: Packed, *, timed: bool = False) -> Arrays:
        """Return the columns at the packed positions.

        Args:
            packed: where the steps stand.
            timed: whether to return times: seconds since the start of their window, UNKNOWN where not known.
        """
        present = packed.steps >= 0
        columns = {
            "inputs": np.where(present, self.inputs[packed.steps], 0),
            "targets": np.where(present, self.targets[packed.steps], 0),
            "windows": packed.windows,
            "positions": packed.positions,
        }
        if not timed:
            return columns
        if self.input_times is None or self.target_times is None:
            unknown = np.full(packed.steps.shape, UNKNOWN, dtype=np.int32)
            return columns | {"input_times": unknown, "target_times": unknown}
        start = self.input_times[packed.steps - packed.positions]
        for name, times in (("input_times", self.input_times), ("target_times", self.target_times)):
            columns[name] = np.where(present, times[packed.steps] - start, 0).astype(np.int32)
        return columns


def training_windows(steps: Steps, length: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Cut every row into windows of at most `length` steps, where it is longer at a random place.

    Returns:
        First step and size of each window.
    """
    counts = np.diff(steps.offsets)
    first = np.where(counts > length, rng.integers(1, length + 1, len(counts)), counts)
    pieces = np.where(counts > 0, 1 + -(-(counts - first) // length), 0)
    row = np.repeat(np.arange(len(counts)), pieces)
    piece = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    end = np.minimum(first[row] + piece * length, counts[row])
    begin = np.where(piece == 0, 0, first[row] + (piece - 1) * length)
    return steps.offsets[row] + begin, end - begin


def newest_windows(steps: Steps, length: int) -> tuple[Ints, Ints]:
    """Return first step and size of each row's newest `length` steps."""
    sizes = np.minimum(np.diff(steps.offsets), length)
    return steps.offsets[1:] - sizes, sizes


def pack(starts: Ints, sizes: Ints, length: int) -> Packed:
    """Lay windows side by side, the longest first, each where it fits most tightly.

    Args:
        starts: first step of each window, `[num_windows]`.
        sizes: steps of each window, 1 to `length`, same shape.
        length: positions of a row.
    """
    row, column = _best_fit(sizes, length)
    window = np.repeat(np.arange(len(sizes)), sizes)
    position = np.arange(len(window)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    cells = (row[window], column[window] + position)
    shape = (int(row.max(initial=-1)) + 1, length)
    steps = np.full(shape, -1, dtype=np.int64)
    windows, positions = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    steps[cells] = starts[window] + position
    windows[cells] = window + 1
    positions[cells] = position
    return Packed(steps, windows, positions)


def _best_fit(sizes: Ints, length: int) -> tuple[Ints, Ints]:
    """Return row and first column of each window; all windows of one size are placed together."""
    row, column = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes), dtype=np.int64)
    room = [np.zeros(0, dtype=np.int64) for _ in range(length + 1)]  # free positions -> rows with just so many
    num_rows = 0
    by_size = np.argsort(-sizes, kind="stable")
    for group in np.split(by_size, np.flatnonzero(np.diff(sizes[by_size])) + 1):
        size = int(sizes[group[0]]) if len(group) else 0
        while len(group):
            free = next((free for free in range(size, length + 1) if len(room[free])), None)
            if free is None:
                new = -(-len(group) // (length // size))
                free, room[length] = length, np.arange(num_rows, num_rows + new)
                num_rows += new
            taken, room[free] = room[free][: len(group)], room[free][len(group) :]
            row[group[: len(taken)]], column[group[: len(taken)]] = taken, length - free
            room[free - size] = np.concatenate([room[free - size], taken])
            group = group[len(taken) :]
    return row, column
