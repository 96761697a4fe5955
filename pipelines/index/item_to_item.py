"""Exact search over sparse item vectors: for models whose natural form is a matrix from items to items."""

from pathlib import Path

import numpy as np

from pipelines.errors import AnnIndexError
from pipelines.index.base import Floats, Rows, check_queries, pad, write_header
from pipelines.index.brute_force import best_rows
from pipelines.index.sparse_vectors import SPARSE_FILE, SparseVectors


class ItemToItemIndex:
    """Inner products with sparse item vectors, exact. A query is a weighted history: only what it holds is visited."""

    kind = "item_to_item"

    def __init__(self, vectors: SparseVectors) -> None:
        """Take item vectors, `[num_items, embedding_dim]`.

        Raises:
            AnnIndexError: there is no item, or a value is not finite.
        """
        if not len(vectors):
            raise AnnIndexError("there are 0 item vectors; run `tandem ingest-events` for a source with items")
        if not np.isfinite(vectors.values).all():
            raise AnnIndexError("an item vector is not finite; train the retrieval model again")
        self._vectors = vectors

    @property
    def num_items(self) -> int:
        """Rows in the index."""
        return len(self._vectors)

    @property
    def embedding_dim(self) -> int:
        """Width of its vectors."""
        return self._vectors.width

    def search(self, queries: Floats, top_k: int) -> tuple[Rows, Floats]:
        """Return the exact best rows and scores; see `AnnIndex.search`."""
        queries = check_queries(queries, self.embedding_dim, top_k)
        found = min(top_k, self.num_items)
        rows = np.empty((len(queries), found), dtype=np.int32)
        scores = np.empty((len(queries), found), dtype=np.float32)
        for number in range(len(queries)):
            (row_scores,) = self._vectors.products(queries[number : number + 1])
            best = best_rows(row_scores, found)
            rows[number], scores[number] = best, row_scores[best]
        return pad(rows, scores, top_k)

    def vectors(self, rows: Rows) -> Floats:
        """Return the vectors of `rows` in full."""
        return self._vectors.dense(rows)

    def save(self, folder: Path) -> None:
        """Write the vectors as one npz file."""
        write_header(folder, {"kind": self.kind, "num_items": self.num_items, "embedding_dim": self.embedding_dim})
        self._vectors.save(folder / SPARSE_FILE)

    @classmethod
    def load(cls, folder: Path) -> "ItemToItemIndex":
        """Read a saved index."""
        return cls(SparseVectors.load(folder / SPARSE_FILE))
