"""Exact search in numpy: the oracle other indexes are measured against, and the index of small corpora."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import AnnIndexError
from pipelines.index.base import Floats, Rows, check_corpus, check_queries, pad, write_header

VECTORS_FILE = "vectors.npy"
# Scores of one block of queries stay below 64 MiB, whatever the corpus.
_BLOCK_SCORES = 2**24


class BruteForceIndex:
    """Inner products with every item. Equal scores are ordered by row, so results are reproducible."""

    kind = "brute_force"

    def __init__(self, embeddings: npt.NDArray[Any]) -> None:
        """Take item embeddings `[num_items, embedding_dim]`."""
        self._vectors = check_corpus(embeddings)

    @property
    def num_items(self) -> int:
        """Rows in the index."""
        return int(self._vectors.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of its vectors."""
        return int(self._vectors.shape[1])

    def search(self, queries: Floats, top_k: int) -> tuple[Rows, Floats]:
        """Return the exact best rows and scores; see `AnnIndex.search`."""
        queries = check_queries(queries, self.embedding_dim, top_k)
        found = min(top_k, self.num_items)
        rows = np.empty((len(queries), found), dtype=np.int32)
        scores = np.empty((len(queries), found), dtype=np.float32)
        block = max(1, _BLOCK_SCORES // self.num_items)
        for start in range(0, len(queries), block):
            products = queries[start : start + block] @ self._vectors.T
            for offset, row_scores in enumerate(products):
                best = best_rows(row_scores, found)
                rows[start + offset], scores[start + offset] = best, row_scores[best]
        return pad(rows, scores, top_k)

    def vectors(self, rows: Rows) -> Floats:
        """Return the embeddings of `rows`."""
        return self._vectors[rows]

    def save(self, folder: Path) -> None:
        """Write the vectors as one npy file."""
        write_header(folder, {"kind": self.kind, "num_items": self.num_items, "embedding_dim": self.embedding_dim})
        np.save(folder / VECTORS_FILE, self._vectors)

    @classmethod
    def load(cls, folder: Path) -> "BruteForceIndex":
        """Read a saved index."""
        try:
            return cls(np.load(folder / VECTORS_FILE, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise AnnIndexError(
                f"{folder / VECTORS_FILE} cannot be read ({error}); run `tandem build-index` again"
            ) from error


def best_rows(scores: Floats, top_k: int) -> npt.NDArray[np.intp]:
    """Return rows of the `top_k` largest scores, best first, ties by row.

    A partition alone breaks ties at the border arbitrarily, so everything that equals the border's score is
    kept until a stable sort decides.
    """
    if top_k < len(scores):
        border = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        rows = np.flatnonzero(scores >= border)
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")[:top_k]]
