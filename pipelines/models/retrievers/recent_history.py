"""Recent history: what a user did last comes first, popular items after; hard to beat where people repeat."""

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


class RecentHistorySettings(Section):
    """How fast the past fades."""

    decay: float = Field(0.9, gt=0, le=1, description="weight of an interaction against the one after it")
    popularity_weight: float = Field(
        1e-3, ge=0, description="weight of popularity, from 0 to 1, beside the history: it orders all other items"
    )


class RecentHistory(Retriever):
    """Scores an item by `decay ** age` of its newest interaction in the query's history, plus a little popularity."""

    card = ModelCard(
        name="recent_history",
        family="baseline",
        needs="order of events",
        good_at="repeated consumption, and as a baseline wherever seen items may be shown again",
        source="counting",
    )
    Settings = RecentHistorySettings
    space = {"decay": "0.5..1.0", "popularity_weight": "log:0.0001..1.0"}
    learned = ("popularity",)

    def __init__(self, settings: RecentHistorySettings | None = None) -> None:
        super().__init__(settings)
        self.popularity = np.zeros(0, dtype=np.float32)

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Count how often each item was used; the history comes with the query."""
        require_interactions(train)
        counts = np.bincount(train.items, minlength=train.num_items)
        self.popularity = (counts / counts.max()).astype(np.float32)
        return Fitted()

    def score(self, queries: Sequences) -> Floats:
        """Return decayed histories over a floor of popularity."""
        decayed = queries.matrix(self.settings.decay**queries.ages)
        return np.asarray(decayed.toarray() + self.settings.popularity_weight * self.popularity, dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the decayed history over items that are themselves, with popularity in place 0."""
        import scipy.sparse as sp

        graph = QueryGraph(layout)
        decay = self.settings.decay ** np.arange(layout.history_length)
        query = graph.weighted_history(decay, constant=self.settings.popularity_weight)
        graph.save(folder, query, 1 + layout.num_items)
        themselves = sp.identity(layout.num_items, dtype=np.float32)
        save_item_vectors(folder, layout, sp.hstack([sp.csr_matrix(self.popularity[:, None]), themselves]))
