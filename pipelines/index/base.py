"""The nearest-neighbour seam: what an index answers, and what every index checks before it does."""

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.errors import AnnIndexError

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]

INDEX_FILE = "index.json"
NO_ROW = -1


class AnnIndex(Protocol):
    """Finds the items whose embeddings have the largest inner product with a query's.

    An index knows rows, not item ids: row `i` is the `i`-th item of the corpus it was built from.
    """

    kind: str

    @property
    def num_items(self) -> int:
        """Rows in the index."""

    @property
    def embedding_dim(self) -> int:
        """Width of its vectors."""

    def search(self, queries: Floats, top_k: int) -> tuple[Rows, Floats]:
        """Return the best rows and their scores, best first.

        Args:
            queries: float32 `[num_queries, embedding_dim]`.
            top_k: neighbours a query.

        Returns:
            rows int32 `[num_queries, top_k]` and inner products float32 `[num_queries, top_k]`; where there
            are fewer neighbours, the rest is row -1 with score -inf.

        Raises:
            AnnIndexError: a query is of another width or not finite, or `top_k` is below 1.
        """

    def vectors(self, rows: Rows) -> Floats:
        """Return the embeddings of `rows`, float32 `[num_rows, embedding_dim]`."""

    def save(self, folder: Path) -> None:
        """Write the index below `folder`, without absolute paths and without pickles."""


def check_corpus(embeddings: npt.NDArray[Any]) -> Floats:
    """Return `embeddings` as contiguous float32 `[num_items, embedding_dim]`.

    Raises:
        AnnIndexError: the array has no rows, is not a matrix, or holds values that are not finite.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise AnnIndexError(
            f"item embeddings have shape {list(embeddings.shape)}; expected [num_items, embedding_dim], "
            "both at least 1. Run `tandem ingest-events` for a source with items"
        )
    bad = int((~np.isfinite(embeddings)).any(axis=1).sum())
    if bad:
        raise AnnIndexError(
            f"{bad} of {len(embeddings)} item embeddings are not finite; train the retrieval model again"
        )
    return np.ascontiguousarray(embeddings, dtype=np.float32)


def check_queries(queries: npt.NDArray[Any], embedding_dim: int, top_k: int) -> Floats:
    """Return `queries` as contiguous float32, or raise AnnIndexError naming what is wrong with them."""
    if queries.ndim != 2 or queries.shape[1] != embedding_dim:
        raise AnnIndexError(f"queries have shape {list(queries.shape)}; expected [num_queries, {embedding_dim}]")
    if not np.isfinite(queries).all():
        raise AnnIndexError("a query embedding is not finite; the query tower or its input features are broken")
    if top_k < 1:
        raise AnnIndexError(f"top_k is {top_k}; expected at least 1")
    return np.ascontiguousarray(queries, dtype=np.float32)


def pad(rows: Rows, scores: Floats, top_k: int) -> tuple[Rows, Floats]:
    """Widen `[num_queries, found]` to `[num_queries, top_k]` with row -1 and score -inf."""
    missing = top_k - rows.shape[1]
    if missing <= 0:
        return rows, scores
    width = ((0, 0), (0, missing))
    padded = np.pad(rows, width, constant_values=NO_ROW).astype(np.int32)
    return padded, np.pad(scores, width, constant_values=-np.inf).astype(np.float32)


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write what `load_index` needs to know first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).write_text(json.dumps(header, indent=2, sort_keys=True))


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of a saved index; AnnIndexError if it is not there or not JSON."""
    path = folder / INDEX_FILE
    try:
        header: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AnnIndexError(f"{path} cannot be read ({error}); run `tandem build-index` again") from error
    return header


def recall_at_k(found: Rows, exact: Rows) -> float:
    """Return the mean share of `exact` rows that are in `found`; both `[num_queries, k]`, -1 is nothing."""
    hits = (found[:, :, None] == exact[:, None, :]) & (exact[:, None, :] != NO_ROW)
    wanted = (exact != NO_ROW).sum()
    return float(hits.sum() / wanted) if wanted else 1.0
