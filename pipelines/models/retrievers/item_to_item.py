"""Models that are one matrix: how much each item of a history speaks for each other item."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.retrievers.base import Fitted, Floats, Retriever, RunOptions, Validation, require_interactions
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences

# Popularity orders what the matrix leaves equal, such as all items for an empty history, and nothing else.
POPULARITY_FLOOR = 1e-4
NEGLIGIBLE = 1e-9  # against 1 of the newest interaction: below what float32 can add to it


class HistorySettings(Section):
    """How a query's history is weighed."""

    history_decay: float = Field(1.0, gt=0, le=1, description="weight of an interaction against the one after it")


class ItemToItem(Retriever):
    """Scores items by `history @ weights`, plus a trace of popularity.

    `history` is `[num_queries, num_items]` with `history_decay ** age` of each interaction; `weights` is
    `[num_items, num_items]`, from history to candidate, a dense array or a scipy CSR matrix.
    """

    learned: ClassVar[tuple[str, ...]] = ("popularity", "weights")

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.weights: Any = np.zeros((0, 0), dtype=np.float32)
        self.popularity = np.zeros(0, dtype=np.float32)

    @abstractmethod
    def item_weights(self, train: Sequences) -> Any:
        """Return the matrix, `[num_items, num_items]`, dense or CSR, float32."""

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Compute the matrix; nothing is random and nothing is iterated."""
        require_interactions(train)
        counts = np.bincount(train.items, minlength=train.num_items)
        self.popularity = (counts / counts.sum()).astype(np.float32)
        self.weights = self.item_weights(train)
        return Fitted(figures={"num_parameters": float(np.count_nonzero(getattr(self.weights, "data", self.weights)))})

    def score(self, queries: Sequences) -> Floats:
        """Return the scores of all items, `[num_queries, num_items]`."""
        weights = self.settings.history_decay**queries.ages
        kept = weights > NEGLIGIBLE
        scores = queries.keep(kept).matrix(weights[kept]) @ self.weights
        dense = scores if isinstance(scores, np.ndarray) else scores.toarray()
        return np.asarray(dense + POPULARITY_FLOOR * self.popularity, dtype=np.float32)

    @property
    def served_weights(self) -> Any:
        """The matrix for queries that know neither times nor values, `[num_items, num_items]`."""
        return self.weights

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the weighted history as the query, and the matrix, with popularity in place 0, as the items."""
        graph = QueryGraph(layout)
        decay = self.settings.history_decay ** np.arange(layout.history_length)
        graph.save(folder, graph.weighted_history(decay, constant=POPULARITY_FLOOR), 1 + layout.num_items)
        vectors = _with_first(self.popularity, self.served_weights.T)
        save_item_vectors(folder, layout, vectors, unseen=np.zeros(vectors.shape[1], dtype=np.float32))


def _with_first(column: Floats, matrix: Any) -> Any:
    """Return a matrix, dense or sparse, with one more column before its first."""
    import scipy.sparse as sp

    if isinstance(matrix, np.ndarray):
        return np.hstack([column[:, None], matrix])
    return sp.hstack([sp.csr_matrix(column[:, None]), matrix]).tocsr()
