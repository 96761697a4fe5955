"""ScaNN: approximate search for corpora where exact search costs too much.

Three habits of ScaNN 1.4.2 decide the shape of this module: it imports TensorFlow when that is installed,
`serialize` writes absolute paths unless told not to, and a batched search that reaches too few leaves fills
up with row 0 and distance NaN.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import AnnIndexError
from pipelines.index.base import NO_ROW, Floats, Rows, check_corpus, check_queries, pad, write_header

MIN_ITEMS = 16  # asymmetric hashing learns 16 centres a block
SEARCH_FOLDER = "scann"
_DATASET_FILE = "dataset.npy"
_PICKLE_FILE = "scann_docids.pkl"


def import_scann() -> Any:
    """Return ScaNN's numpy interface without letting it import TensorFlow.

    `import scann` tries TensorFlow first: 10 s and 590 MB where it is installed, and a crash where its version
    is not the one ScaNN was built for. We never use those operations, so TensorFlow is hidden for the length
    of this import; a TensorFlow that is already loaded stays as it is.
    """
    if "scann" not in sys.modules and "tensorflow" not in sys.modules:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]  # importing it fails then, which is meant
        try:
            import scann
        finally:
            del sys.modules["tensorflow"]
    import scann

    return scann.scann_ops_pybind


class ScannIndex:
    """A ScaNN tree with asymmetric hashing and exact re-scoring.

    Attributes:
        leaves_to_search: leaves visited a query; more is slower and finds more.
    """

    kind = "scann"

    def __init__(self, searcher: Any, vectors: Floats, *, num_leaves: int, leaves_to_search: int) -> None:
        """Wrap a ScaNN searcher; use `build` or `load`."""
        self._searcher = searcher
        self._vectors = vectors
        self.num_leaves = num_leaves
        self.leaves_to_search = leaves_to_search

    @property
    def num_items(self) -> int:
        """Rows in the index."""
        return int(self._vectors.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of its vectors."""
        return int(self._vectors.shape[1])

    @classmethod
    def build(cls, embeddings: npt.NDArray[Any], *, training_threads: int = 0) -> "ScannIndex":
        """Build over item embeddings `[num_items, embedding_dim]`, about sqrt(num_items) items a leaf.

        Raises:
            AnnIndexError: the corpus has fewer than 16 items or is not finite.
        """
        vectors = check_corpus(embeddings)
        if len(vectors) < MIN_ITEMS:
            raise AnnIndexError(
                f"ScaNN needs at least {MIN_ITEMS} items and got {len(vectors)}; "
                "raise index.brute_force_below so that this corpus is searched exactly"
            )
        num_leaves = max(1, round(math.sqrt(len(vectors))))
        leaves_to_search = max(1, num_leaves // 10)
        builder = import_scann().builder(vectors, 10, "dot_product")
        builder = builder.set_n_training_threads(training_threads)
        builder = builder.tree(num_leaves, leaves_to_search, training_sample_size=250_000)
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
        return cls(builder.build(), vectors, num_leaves=num_leaves, leaves_to_search=leaves_to_search)

    def search(self, queries: Floats, top_k: int) -> tuple[Rows, Floats]:
        """Return approximate best rows with exact scores; see `AnnIndex.search`."""
        queries = check_queries(queries, self.embedding_dim, top_k)
        if not len(queries):
            return np.empty((0, top_k), dtype=np.int32), np.empty((0, top_k), dtype=np.float32)
        found = min(top_k, self.num_items)
        # Hashed scores choose what is re-scored exactly: taking a few times top_k keeps their error out.
        rescored = min(self.num_items, max(4 * found, 100))
        leaves = self._leaves_for(rescored)
        rows, scores = self._searcher.search_batched(queries, found, rescored, leaves)
        missing = ~np.isfinite(scores)
        if missing.any():
            if leaves < self.num_leaves:
                rows, scores = self._searcher.search_batched(queries, found, rescored, self.num_leaves)
                missing = ~np.isfinite(scores)
            rows, scores = np.where(missing, 0, rows), np.where(missing, -np.inf, scores)
        rows = rows.astype(np.int32)
        rows[missing] = NO_ROW
        return pad(rows, scores.astype(np.float32), top_k)

    def _leaves_for(self, wanted: int) -> int:
        """Enough leaves that `wanted` items can be in them at all."""
        return min(
            self.num_leaves, max(self.leaves_to_search, math.ceil(2 * wanted * self.num_leaves / self.num_items))
        )

    def vectors(self, rows: Rows) -> Floats:
        """Return the embeddings of `rows`."""
        return np.asarray(self._vectors[rows], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write ScaNN's files with relative paths; the raw vectors are among them."""
        target = folder / SEARCH_FOLDER
        target.mkdir(parents=True, exist_ok=True)
        self._searcher.serialize(str(target), relative_path=True)
        sizes = {"num_items": self.num_items, "embedding_dim": self.embedding_dim}
        leaves = {"num_leaves": self.num_leaves, "leaves_to_search": self.leaves_to_search}
        write_header(folder, {"kind": self.kind, **sizes, **leaves})

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any]) -> "ScannIndex":
        """Read a saved index.

        Raises:
            AnnIndexError: files are missing or cut, or there is a pickle, which ScaNN would execute.
        """
        source = folder / SEARCH_FOLDER
        if (source / _PICKLE_FILE).exists():
            raise AnnIndexError(
                f"{source / _PICKLE_FILE} is a pickle, which Tandem never writes; do not trust this index"
            )
        try:
            vectors = np.load(source / _DATASET_FILE, mmap_mode="r", allow_pickle=False)
            searcher = import_scann().load_searcher(str(source), assets_backcompat_shim=False)
        except Exception as error:  # ScaNN raises bare RuntimeError, ValueError and its own status errors
            raise AnnIndexError(
                f"ScaNN index {source} cannot be read ({error}); run `tandem build-index` again"
            ) from error
        leaves = {name: int(header[name]) for name in ("num_leaves", "leaves_to_search")}
        return cls(searcher, vectors, **leaves)
