"""Linear transitions: a ridge regression of what comes next on what came before, in closed form."""

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import Floats, ModelCard
from pipelines.models.retrievers.item_to_item import HistorySettings, ItemToItem
from pipelines.models.sequences import Sequences


class LinearTransitionSettings(HistorySettings):
    """What counts as before and after, and the regularization."""

    history_decay: float = Field(0.8, gt=0, le=1, description="weight of an interaction against the one after it")
    l2: float = Field(100.0, gt=0, description="added to the diagonal of the Gram matrix")
    num_before: int = Field(20, ge=1, description="items before a moment that are regressed on")
    num_after: int = Field(5, ge=1, description="items after a moment that are predicted")
    before_decay: float = Field(0.7, gt=0, le=1, description="weight of an item before against the one after it")
    after_decay: float = Field(0.6, gt=0, le=1, description="weight of an item after against the one before it")
    target_norm: float = Field(0.0, ge=0, le=1, description="scores are divided by item counts to this power")
    elapsed_bounds: tuple[int, ...] = Field(
        (), description="ascending seconds from 1: an item before speaks anew for what comes next from each age on"
    )

    @field_validator("elapsed_bounds")
    @classmethod
    def _ascends(cls, bounds: tuple[int, ...]) -> tuple[int, ...]:
        if list(bounds) != sorted({bound for bound in bounds if bound > 0}):
            raise ValueError("expected ascending seconds, the first at least 1")
        return bounds


class LinearTransitions(ItemToItem):
    """`(S'S + l2 I)^-1 S'T`: a row of `S` holds the decayed past of one moment of a history, of `T` its future.

    With `elapsed_bounds` an item has a column of `S` for each span of time that may lie between it and the moment, such
    as the same page, the same session and longer ago. A query that does not know times asks after the longest.
    """

    card = ModelCard(
        name="linear_transitions",
        family="linear",
        needs="order of events; their times where `elapsed_bounds` are set; memory for items squared",
        good_at="sequences of up to some ten thousand items, in seconds",
        source="Choi and others, Session-aware linear item-item models, WWW 2021 (its transition part)",
        items_squared=True,
    )
    Settings = LinearTransitionSettings
    presets = {"quality": {"history_decay": 0.7}}
    space = {"l2": "log:10..1000", "history_decay": "0.5..1.0", "before_decay": "0.4..1.0", "after_decay": "0.4..1.0"}

    def item_weights(self, train: Sequences) -> Any:
        """Return the closed form, dense."""
        from scipy.linalg import cho_factor, cho_solve

        settings = self.settings
        if settings.elapsed_bounds and train.times is None:
            raise TrainingError(
                f"elapsed_bounds are {settings.elapsed_bounds}, and the training data has no times; expected a time of "
                "each interaction. Leave elapsed_bounds empty"
            )
        before = _shifted(train, -np.arange(1, settings.num_before + 1), settings.before_decay, settings.elapsed_bounds)
        after = _shifted(train, np.arange(settings.num_after), settings.after_decay)
        gram = (before.T @ before).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += settings.l2
        weights = cho_solve(cho_factor(gram, overwrite_a=True), (before.T @ after).toarray())
        counts = np.maximum(np.bincount(train.items, minlength=train.num_items), 1)
        return (weights / counts**settings.target_norm).astype(np.float32)

    def score(self, queries: Sequences) -> Floats:
        """Return the scores of all items, `[num_queries, num_items]`."""
        bounds = self.settings.elapsed_bounds
        if queries.times is None or queries.moments is None:
            span = np.full(len(queries.items), len(bounds))
        else:
            span = _span(queries.moments[queries.rows] - queries.times, bounds)
        columns = (queries.items + queries.num_items * span).astype(np.int32)
        return super().score(replace(queries, items=columns, num_items=queries.num_items * (len(bounds) + 1)))

    @property
    def served_weights(self) -> Any:
        """The matrix of the longest span."""
        return self.weights[-len(self.popularity) :]


def _shifted(train: Sequences, steps: Any, decay: float, bounds: tuple[int, ...] = ()) -> Any:
    """Return the items so many steps from each interaction within its row, decayed with distance.

    CSR, float32 `[num_interactions, num_items * (1 + num_bounds)]`: the columns of the shortest span come first.
    """
    import scipy.sparse as sp

    size = len(train.items)
    at = np.arange(size)[:, None] + steps[None, :]
    inside = (at >= train.offsets[train.rows][:, None]) & (at < train.offsets[train.rows + 1][:, None])
    worth = np.broadcast_to((decay ** np.arange(len(steps))).astype(np.float32), at.shape)[inside]
    offsets = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    columns = train.items[at[inside]]
    if bounds and train.times is not None:
        elapsed = np.repeat(train.times, inside.sum(axis=1)) - train.times[at[inside]]
        columns = columns + train.num_items * _span(elapsed, bounds)
    return sp.csr_matrix((worth, columns, offsets), shape=(size, train.num_items * (1 + len(bounds))))


def _span(elapsed: Any, bounds: tuple[int, ...]) -> Any:
    """Return the number of bounds that elapsed seconds have reached."""
    return np.searchsorted(np.asarray(bounds, dtype=np.int64), elapsed, side="right")
