"""A random order of the items for each user: the floor of every comparison."""

from pathlib import Path

import numpy as np
from pydantic import Field

from pipelines.config import Section
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
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences


class RandomOrderSettings(Section):
    """Width of the vectors."""

    embedding_dim: int = Field(16, ge=1, description="length of the random vectors of users and items")


class RandomOrder(Retriever):
    """Scores by the inner product of random normal vectors of user and item; users never seen share one vector."""

    card = ModelCard(
        name="random",
        family="baseline",
        needs="nothing but the lists of users and items",
        good_at="the floor of every comparison, and a check of the evaluation itself",
        source="drawing",
    )
    Settings = RandomOrderSettings
    learned = ("users", "items")

    def __init__(self, settings: RandomOrderSettings | None = None) -> None:
        super().__init__(settings)
        self.users = self.items = np.zeros((1, self.settings.embedding_dim), dtype=np.float32)

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Draw the vectors; the seed decides them."""
        require_interactions(train)
        rng = np.random.default_rng(options.seed)
        dim = self.settings.embedding_dim
        self.items = rng.standard_normal((train.num_items, dim), dtype=np.float32)
        # The last row is that of all users who are not known: -1 counts from the end.
        self.users = rng.standard_normal((len(train) + 1, dim), dtype=np.float32)
        return Fitted()

    def score(self, queries: Sequences) -> Floats:
        """Return products of random vectors."""
        rows = np.where(queries.users < len(self.users) - 1, queries.users, -1)
        return np.asarray(self.users[rows] @ self.items.T, dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write both lists of vectors."""
        graph = QueryGraph(layout)
        strangers_first = np.roll(self.users, 1, axis=0)
        graph.save(folder, graph.lookup(strangers_first, graph.user), self.settings.embedding_dim)
        save_item_vectors(folder, layout, self.items)
