"""Encoded rows: in memory, or in a file where they are too many for it."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[tuple[int, ...], str]]  # input name -> (shape of one row, dtype)


def row_type(shapes: Shapes) -> np.dtype[np.void]:
    """Return the type of one row: its inputs one after the other."""
    return np.dtype([(name, dtype, shape) for name, (shape, dtype) in shapes.items()])


class EncodedRows:
    """Rows of named inputs, filled a part at a time and then read in any order.

    In a file the inputs of a row lie together, so that a batch reads one place for each of its rows. Memory maps the
    file: what is read of it is the system's cache, kept while there is room and given back when there is none. The
    file has no name, so it is gone with the process, however that ends.

    Args:
        shapes: input name -> (shape of one row, dtype).
        num_rows: how many there will be.
        folder: where the file is made; None keeps the rows in memory.

    Attributes:
        arrays: the inputs by name, `[num_rows, ...]` each.

    Raises:
        TrainingError: the folder has no room for them.
    """

    def __init__(self, shapes: Shapes, num_rows: int, folder: Path | None = None) -> None:
        self._filled = 0
        if folder is None:
            self.arrays: Arrays = {n: np.zeros((num_rows, *shape), dtype) for n, (shape, dtype) in shapes.items()}
        else:
            rows = _mapped(row_type(shapes), num_rows, folder)
            self.arrays = {name: rows[name] for name in shapes}

    def append(self, part: Arrays) -> None:
        """Fill the next rows; `part` has all inputs, `[num_part, ...]` each."""
        end = self._filled + len(next(iter(part.values())))
        for name, values in part.items():
            self.arrays[name][self._filled : end] = values
        self._filled = end


def _mapped(row: np.dtype[np.void], num_rows: int, folder: Path) -> NDArray[Any]:
    size = max(1, num_rows) * row.itemsize
    with TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # without room, writing to a mapped file ends the process
        except OSError as error:
            raise TrainingError(
                f"{folder} has no room for {size:,} bytes of encoded labels ({error.strerror}); expected as much to be "
                "free. Free it, or raise training.resident_mb to keep them in memory"
            ) from error
        return np.memmap(file, dtype=row, mode="r+", shape=(num_rows,)).view(np.ndarray)
