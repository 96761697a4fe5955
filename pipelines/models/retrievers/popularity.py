"""Popularity: the baseline that every other model has to beat, on a window or decayed, also by segment of users."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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
from pipelines.models.retrievers.renumbering import FLOAT
from pipelines.models.sequences import Codes, Sequences

DAY = 86_400


class PopularitySettings(Section):
    """Which interactions count, and how much."""

    window_days: float | None = Field(None, gt=0, description="count only the newest days; none counts all")
    half_life_days: float | None = Field(None, gt=0, description="an interaction this old counts half; none: no decay")
    segment_weight: float = Field(
        1.0, ge=0, description="interactions of everybody that weigh as much as one of the user's own segment"
    )


class Popularity(Retriever):
    """Scores an item by the share of interactions with it.

    Where rows have a segment, such as a country, a segment's shares are those of its own interactions smoothed with
    everybody's: `(count + m * share) / (total + m)` with `m = segment_weight * num_items`. A query without a segment
    gets that of its user, and everybody's shares where the user is not known either.
    """

    card = ModelCard(
        name="popularity",
        family="baseline",
        needs="interactions; times for a window or decay; segments of users for shares by segment",
        good_at="new users, and as the baseline of every comparison",
        source="counting",
    )
    Settings = PopularitySettings
    space = {"half_life_days": "log:1.0..365.0"}
    learned = ("shares", "user_segments")

    def __init__(self, settings: PopularitySettings | None = None) -> None:
        super().__init__(settings)
        self.shares = np.zeros((1, 0), dtype=np.float32)
        self.user_segments = np.zeros(0, dtype=np.int32)

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Count; nothing is iterated."""
        require_interactions(train)
        weights = self._weights(train.times)
        everybody = np.bincount(train.items, weights, train.num_items)
        shares = everybody / max(everybody.sum(), 1e-12)
        if train.segments is None:
            self.shares = shares[None].astype(np.float32)
            self.user_segments = np.full(len(train), -1, dtype=np.int32)
            return Fitted(figures={"num_segments": 0})
        self.user_segments = train.segments.astype(np.int32)
        num_segments = int(self.user_segments.max(initial=-1)) + 1
        segments = self.user_segments[train.rows]
        cells = (segments + 1) * train.num_items + train.items
        counts = np.bincount(cells, weights, (num_segments + 1) * train.num_items).reshape(num_segments + 1, -1)[1:]
        smoothing = self.settings.segment_weight * train.num_items
        by_segment = (counts + smoothing * shares) / np.maximum(counts.sum(axis=1, keepdims=True) + smoothing, 1e-12)
        self.shares = np.concatenate([by_segment, shares[None]]).astype(np.float32)
        return Fitted(figures={"num_segments": num_segments})

    def score(self, queries: Sequences) -> Floats:
        """Return the shares of each query's segment."""
        return self.shares[self._segments(queries)]

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write which segment a query is of, and the shares of each item by segment."""
        graph = QueryGraph(layout)
        num_segments = len(self.shares) - 1
        one_hot = np.eye(num_segments + 1, dtype=np.float32)
        # Row 0 is a stranger's, and everybody's shares stand last: -1 counts from the end.
        segment = graph.lookup(one_hot[np.concatenate([[-1], self.user_segments])], graph.user)
        if num_segments and layout.segments:
            segment = _given_or(graph, segment, layout, num_segments)
        graph.save(folder, segment, num_segments + 1)
        nothing = np.zeros(num_segments + 1, dtype=np.float32)
        save_item_vectors(folder, layout, np.ascontiguousarray(self.shares.T), unseen=nothing)

    def _weights(self, times: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
        """Return how much each interaction counts; None, which counts each once, where times are not known."""
        window, half_life = self.settings.window_days, self.settings.half_life_days
        if times is None or (window is None and half_life is None):
            return None
        ages = (times.max() - times) / DAY
        weights = np.ones(len(ages)) if half_life is None else np.exp2(-ages / half_life)
        return weights if window is None else weights * (ages <= window)

    def _segments(self, queries: Sequences) -> Codes:
        """Return the row of `shares` of each query; the last, everybody's, where its segment is not known."""
        known = np.append(self.user_segments, -1)
        of_user: Codes = known[np.where(queries.users < len(self.user_segments), queries.users, -1)]
        if queries.segments is None:
            return of_user
        given = np.where(queries.segments < len(self.shares) - 1, queries.segments, -1)
        return np.where(given >= 0, given, of_user)


def _given_or(graph: QueryGraph, of_user: str, layout: Layout, num_segments: int) -> str:
    """Return the segment that the query's attributes give, one-hot, and that of its user where they give none."""
    numbers = np.array(layout.segments, dtype=np.int32)
    matches = graph.op("Equal", graph.op("Unsqueeze", graph.attributes, np.array([2])), numbers)
    found = graph.op("ReduceMax", graph.op("Cast", matches, to=FLOAT), np.array([1]), keepdims=0)
    given = graph.op("MatMul", found, np.eye(len(numbers), num_segments + 1, dtype=np.float32))
    none = graph.op("Sub", np.float32(1), graph.op("ReduceMax", found, np.array([1]), keepdims=1))
    return graph.op("Add", given, graph.op("Mul", none, of_user))
