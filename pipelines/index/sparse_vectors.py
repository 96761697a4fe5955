"""Item vectors that are mostly zero, in columns: numpy alone, so that serving reads them as training wrote them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import AnnIndexError

SPARSE_FILE = "item_vectors.npz"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SparseVectors:
    """Rows of an item-to-item matrix: row `i` holds how much each thing a query may hold speaks for item `i`.

    Attributes:
        offsets: row `i` holds `offsets[i]:offsets[i + 1]` of the columns, int64 `[num_rows + 1]`.
        dims: place of each value in its vector, int32 `[num_values]`.
        values: float32 `[num_values]`.
        width: length of the vectors.
    """

    offsets: NDArray[np.int64]
    dims: NDArray[np.int32]
    values: Floats
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width, as of the matrix they are."""
        return len(self.offsets) - 1, self.width

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0]

    @classmethod
    def of(cls, matrix: Any) -> "SparseVectors":
        """Take a scipy sparse matrix `[num_rows, width]`."""
        csr = matrix.tocsr()
        return cls(
            csr.indptr.astype(np.int64),
            csr.indices.astype(np.int32),
            csr.data.astype(np.float32),
            int(csr.shape[1]),
        )

    def take(self, rows: NDArray[Any]) -> "SparseVectors":
        """Return some rows, in the order asked for."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        chosen = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return SparseVectors(offsets, self.dims[chosen], self.values[chosen], self.width)

    def dense(self, rows: NDArray[Any]) -> Floats:
        """Return some rows in full, float32 `[num_rows, width]`."""
        some = self.take(rows)
        full = np.zeros((len(rows), self.width), dtype=np.float32)
        full[np.repeat(np.arange(len(rows)), np.diff(some.offsets)), some.dims] = some.values
        return full

    def products(self, queries: Floats) -> Floats:
        """Return inner products with all rows, float32 `[num_queries, num_rows]`; only what a query holds costs."""
        starts, rows, values = self._by_dim
        found = np.empty((len(queries), len(self)), dtype=np.float32)
        for number, query in enumerate(queries):
            held = np.flatnonzero(query)
            lengths = starts[held + 1] - starts[held]
            ends = np.cumsum(lengths)
            places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[held] - ends + lengths, lengths)
            weights = values[places] * np.repeat(query[held], lengths)
            found[number] = np.bincount(rows[places], weights, minlength=len(self))
        return found

    def save(self, file: Path) -> None:
        """Write one npz file without pickle."""
        with file.open("wb") as stream:
            np.savez(stream, offsets=self.offsets, dims=self.dims, values=self.values, width=np.array(self.width))

    @classmethod
    def load(cls, file: Path) -> "SparseVectors":
        """Read what `save` wrote.

        Raises:
            AnnIndexError: the file is missing, cut, or not of this layout.
        """
        try:
            # A file that np.load opens itself stays open when it turns out to be cut.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                found = cls(arrays["offsets"], arrays["dims"], arrays["values"], int(arrays["width"]))
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise _damaged(file, str(error)) from error
        if found.offsets[-1] != len(found.dims) or len(found.dims) != len(found.values):
            raise _damaged(file, "its columns differ in length")
        return found

    @cached_property
    def _by_dim(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return the same values by place: where each place begins, and the rows and values there."""
        order = np.argsort(self.dims, kind="stable")
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        counts = np.bincount(self.dims, minlength=self.width)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows[order], self.values[order]


def _damaged(file: Path, why: str) -> AnnIndexError:
    return AnnIndexError(f"{file} cannot be read ({why}); run `tandem build-index` again")
