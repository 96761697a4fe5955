"""Retrievers that are factors: a vector a user and an item, and a way to a vector for a history never seen."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipelines.models.retrievers.base import Fitted, Floats, Retriever, RunOptions, Validation, require_interactions
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.item_to_item import POPULARITY_FLOOR
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences


class FactorRetriever(Retriever):
    """Scores items by `query factors . item factors`, plus a trace of popularity.

    A query's factors come from its history alone (`fold_in`), so known and unseen users are answered alike.
    """

    learned: ClassVar[tuple[str, ...]] = ("items", "popularity")

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.items = np.zeros((0, 0), dtype=np.float32)
        self.popularity = np.zeros(0, dtype=np.float32)

    @abstractmethod
    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Return the items' factors, `[num_items, num_factors]`."""

    @abstractmethod
    def fold_in(self, queries: Sequences) -> Floats:
        """Return the factors of histories, `[num_queries, num_factors]`; zeros for an empty one."""

    @abstractmethod
    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Add to a graph what `fold_in` does; returns the name of the factors, `[batch, num_factors]`."""

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Learn the items' factors."""
        require_interactions(train)
        counts = np.bincount(train.items, minlength=train.num_items)
        self.popularity = (counts / counts.sum()).astype(np.float32)
        self.items = np.asarray(self.item_factors(train, options), dtype=np.float32)
        return Fitted(figures={"num_parameters": float(self.items.size)})

    def score(self, queries: Sequences) -> Floats:
        """Return the scores of all items, `[num_queries, num_items]`."""
        scores = self.fold_in(queries) @ self.items.T
        return np.asarray(scores + POPULARITY_FLOOR * self.popularity, dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the fold-in as the query, and the factors, with popularity as one more of them, as the items."""
        graph = QueryGraph(layout)
        query = graph.op("Concat", self.fold_in_graph(graph), graph.repeated(np.array([POPULARITY_FLOOR])), axis=1)
        graph.save(folder, query, 1 + self.items.shape[1])
        save_item_vectors(folder, layout, np.hstack([self.items, self.popularity[:, None]]))
