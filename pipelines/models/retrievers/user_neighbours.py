"""User neighbours: what people with a similar history used."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import (
    Fitted,
    Floats,
    ModelCard,
    Retriever,
    RunOptions,
    Validation,
    require_interactions,
)
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.item_to_item import POPULARITY_FLOOR
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.retrievers.renumbering import FLOAT
from pipelines.models.retrievers.similarity import (
    Nearest,
    Similarity,
    interaction_values,
    item_means,
    nearest,
    unit_rows,
)
from pipelines.models.sequences import Sequences

MAX_GRAPH_BYTES = 1_800_000_000  # an ONNX file is a protocol buffer, which ends at 2 GiB


class UserNeighbourSettings(Section):
    """Which users are alike, and how many of them count."""

    similarity: Similarity = Field(
        "cosine",
        description="cosine of ones; of values: pearson (less the user's mean), adjusted_cosine (less the item's mean "
        "in training: alike are who differ alike from everybody)",
    )
    num_neighbours: int = Field(200, ge=1, description="most similar users asked")
    shrinkage: float = Field(10.0, ge=0, description="draws the similarity of users with few items in common to zero")


class UserNeighbours(Retriever):
    """Items of the users most similar to the query's history, weighed by similarity.

    The history decides, so users who were never seen are answered as any other; a known user is not its own neighbour.
    Where values are compared and a query has none, its items count alike.
    """

    card = ModelCard(
        name="user_neighbours",
        family="neighbourhood",
        needs="interactions; values for pearson and adjusted cosine; all histories in memory where it answers",
        good_at="some ten thousand users, many items in common",
        source="Herlocker and others, An algorithmic framework for collaborative filtering, SIGIR 1999",
    )
    Settings = UserNeighbourSettings
    space = {
        "similarity": ["cosine", "pearson", "adjusted_cosine"],
        "num_neighbours": "log:20..1000",
        "shrinkage": "log:0.1..100.0",
    }
    learned = ("popularity", "histories", "compared", "item_means")

    def __init__(self, settings: UserNeighbourSettings | None = None) -> None:
        super().__init__(settings)
        self.histories: Any = None
        self.compared: Any = None
        self.popularity = self.item_means = np.zeros(0, dtype=np.float32)
        self._nearest: Nearest = nearest

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Keep the histories; neighbours are found when asked."""
        require_interactions(train)
        self._nearest = options.nearest
        counts = np.bincount(train.items, minlength=train.num_items)
        self.popularity = (counts / counts.sum()).astype(np.float32)
        self.histories = train.matrix()
        self.item_means = item_means(train)
        self.compared = unit_rows(interaction_values(train, self.settings.similarity, of_users=True))
        return Fitted(figures={"num_parameters": float(self.histories.nnz)})

    def score(self, queries: Sequences) -> Floats:
        """Return the neighbours' items, `[num_queries, num_items]`."""
        near = self._nearest(
            unit_rows(self._asked(queries)),
            self.compared,
            common=(queries.matrix(), self.histories),
            num_nearest=self.settings.num_neighbours,
            shrinkage=self.settings.shrinkage,
            same=queries.users,
        )
        return np.asarray((near @ self.histories).toarray() + POPULARITY_FLOOR * self.popularity, dtype=np.float32)

    def _asked(self, queries: Sequences) -> Any:
        """Return queries as similarity compares them; an item's mean is that of training, whoever else asks."""
        if queries.values is None:
            return queries.matrix()
        if self.settings.similarity == "adjusted_cosine":
            return queries.matrix(queries.values - self.item_means[queries.items])
        return interaction_values(queries, self.settings.similarity, of_users=True)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write a graph that holds all histories and finds the neighbours itself; items are vectors of themselves.

        Raises:
            TrainingError: the histories are too large for a graph.
        """
        import scipy.sparse as sp

        self._check_size()
        graph = QueryGraph(layout)
        histories = graph.constant(np.pad(self.histories.toarray(), ((0, 0), (1, 0))))
        near = self._near_graph(graph, graph.weighted_history(np.ones(layout.history_length)), histories)
        floor = POPULARITY_FLOOR * np.eye(1, 1 + layout.num_items, dtype=np.float32)[0]
        graph.save(folder, graph.op("Add", graph.op("MatMul", near, histories), floor), 1 + layout.num_items)
        themselves = sp.identity(layout.num_items, dtype=np.float32)
        save_item_vectors(folder, layout, sp.hstack([sp.csr_matrix(self.popularity[:, None]), themselves]))

    def _near_graph(self, graph: QueryGraph, used: str, histories: str) -> str:
        """Add what `nearest` does for queries without values; returns similarities, `[batch, num_users]`."""
        settings, num_users = self.settings, self.histories.shape[0]
        shared = graph.op("Gemm", used, histories, transB=1)
        length = graph.op("Sqrt", graph.op("ReduceSum", used, np.array([1]), keepdims=1))
        unit = graph.op("Div", used, graph.op("Max", length, np.float32(1)))
        similar = graph.op("Gemm", unit, np.pad(self.compared.toarray(), ((0, 0), (1, 0))), transB=1)
        if settings.shrinkage:
            share = graph.op("Div", shared, graph.op("Add", shared, np.float32(settings.shrinkage)))
            similar = graph.op("Mul", similar, share)
        own = graph.op(
            "Equal", graph.op("Unsqueeze", graph.user, np.array([1])), np.arange(1, num_users + 1, dtype=np.int32)
        )
        others = graph.op("Sub", np.float32(1), graph.op("Cast", own, to=FLOAT))
        positive = graph.op("Max", graph.op("Mul", similar, others), np.float32(0))
        return positive if settings.num_neighbours >= num_users else graph.largest(positive, settings.num_neighbours)

    def _check_size(self) -> None:
        num_bytes = 2 * 4 * self.histories.shape[0] * self.histories.shape[1]
        if num_bytes > MAX_GRAPH_BYTES:
            raise TrainingError(
                f"user_neighbours holds {self.histories.shape[0]:,} users by {self.histories.shape[1]:,} items, "
                f"{num_bytes / 1e9:.1f} GB where it answers; expected at most {MAX_GRAPH_BYTES / 1e9:.1f}. Train "
                "item_neighbours, or lower split.max_train_rows"
            )
