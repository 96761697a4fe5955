"""How usual an item is in the context of a query: what a blend adds to, or filters from, a model without context."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.contexts import require_contexts
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


class ContextLiftSettings(Section):
    """How shares are smoothed, and what becomes of them."""

    smoothing: float = Field(20.0, gt=0, description="interactions under the usual conditions added to each item's own")
    how: Literal["weigh", "filter"] = Field(
        "weigh", description="weigh: the log of the lift; filter: -1 for each condition with less than the least lift"
    )
    least_lift: float = Field(
        0.5, gt=0, lt=1, description="filter: share of an item's use under a condition, against that of all items"
    )


class ContextLift(Retriever):
    """Scores an item by how much more often it is used under the conditions of a query than items are.

    The lift of a condition is `P(condition | item) / P(condition)`, its shares smoothed; logs add up over conditions.
    Added to the log of a model's probability this is Bayes' rule with conditions independent given the item.
    """

    card = ModelCard(
        name="context_lift",
        family="context",
        needs="times or devices",
        good_at="within a blend: a model without context becomes one with it (postfiltering)",
        source="Panniello and others, Experimental comparison of pre- vs. post-filtering approaches in context-aware "
        "recommender systems, RecSys 2009",
    )
    Settings = ContextLiftSettings
    learned = ("lifts",)

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.lifts = np.zeros((0, 0), dtype=np.float32)

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Count; nothing is iterated."""
        require_interactions(train)
        contexts = require_contexts(train.contexts, f"{len(train.items)} interactions")
        counts = contexts.totals(train.items.astype(np.int64), train.num_items, np.ones(len(train.items)))
        same, total = contexts.same_context, counts.sum(axis=0)
        share = total / np.maximum(total @ same, 1)
        own = (counts + self.settings.smoothing * share) / (counts @ same + self.settings.smoothing)
        # A condition that never occurred lifts nothing.
        lifts = np.log(np.divide(own, share, out=np.ones_like(own), where=share > 0))
        if self.settings.how == "filter":
            lifts = -(lifts < np.log(self.settings.least_lift)).astype(np.float64)
        self.lifts = lifts.astype(np.float32)
        return Fitted(figures={"num_parameters": float(self.lifts.size)})

    def score(self, queries: Sequences) -> Floats:
        """Return the sum over the conditions of each query; zeros where none is known."""
        if queries.asked_in is None:
            return np.zeros((len(queries), len(self.lifts)), dtype=np.float32)
        return np.asarray(queries.asked_in.indicators() @ self.lifts.T, dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the conditions as the query, and the lifts as the items."""
        graph = QueryGraph(layout)
        graph.save(folder, graph.conditions, self.lifts.shape[1])
        save_item_vectors(folder, layout, self.lifts, unseen=np.zeros(self.lifts.shape[1], dtype=np.float32))
