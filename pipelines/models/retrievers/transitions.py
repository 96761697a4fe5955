"""First-order transitions: what followed an item, counted; the floor under every sequential model."""

from typing import Any

import numpy as np
from pydantic import Field

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.item_to_item import HistorySettings, ItemToItem
from pipelines.models.sequences import Sequences


class TransitionSettings(HistorySettings):
    """How far apart two items may be, and how much of a history is asked."""

    history_decay: float = Field(1e-6, gt=0, le=1, description="weight of an interaction against the one after it")
    num_steps: int = Field(1, ge=1, description="an item counts as following another up to so many steps later")
    step_decay: float = Field(0.5, gt=0, le=1, description="weight of a step against one shorter")
    source_norm: float = Field(0.0, ge=0, le=1, description="counts are divided by those of the item before, ^this")
    target_norm: float = Field(0.0, ge=0, le=1, description="counts are divided by those of the item after, ^this")


class Transitions(ItemToItem):
    """Counts of item after item, sparse; by default of neighbours alone, and asked of the newest item alone."""

    card = ModelCard(
        name="transitions",
        family="neighbourhood",
        needs="order of events",
        good_at="sessions and series, where the next item depends on the last; any number of items",
        source="Markov chain of first order; Ludewig and Jannach, Evaluation of session-based algorithms, 2018",
    )
    Settings = TransitionSettings
    presets = {"quality": {"num_steps": 6, "step_decay": 0.7, "history_decay": 0.7, "source_norm": 0.5}}
    space = {"num_steps": "1..5", "step_decay": "0.2..1.0", "source_norm": "0.0..1.0", "target_norm": "0.0..1.0"}

    def item_weights(self, train: Sequences) -> Any:
        """Return decayed, normalized counts as CSR, from the item before to the item after."""
        import scipy.sparse as sp

        steps = range(1, self.settings.num_steps + 1)
        weights: Any = sum(self.settings.step_decay ** (step - 1) * _followers(train, step) for step in steps)
        counts = np.maximum(np.bincount(train.items, minlength=train.num_items), 1).astype(np.float32)
        before, after = counts**-self.settings.source_norm, counts**-self.settings.target_norm
        return (sp.diags(before) @ weights @ sp.diags(after)).tocsr().astype(np.float32)


def _followers(train: Sequences, step: int) -> Any:
    """Return how often each item came so many steps after each other, CSR `[num_items, num_items]`."""
    import scipy.sparse as sp

    later = np.flatnonzero(np.arange(len(train.items)) - train.offsets[train.rows] >= step)
    cells: Any = (np.ones(len(later), dtype=np.float32), (train.items[later - step], train.items[later]))
    return sp.csr_matrix(cells, shape=(train.num_items, train.num_items))
