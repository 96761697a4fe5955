"""EASE: a linear autoencoder with a closed form, one setting, and results that many deep models do not reach."""

from typing import Any

import numpy as np
from pydantic import Field

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.item_to_item import HistorySettings, ItemToItem
from pipelines.models.sequences import Sequences


class EaseSettings(HistorySettings):
    """Regularization, and how interactions weigh in training and in a query."""

    l2: float = Field(500.0, gt=0, description="added to the diagonal of the Gram matrix: large for sparse data")
    train_decay: float = Field(1.0, gt=0, le=1, description="in training, weight of an interaction against the next")
    row_norm: float = Field(0.0, ge=0, description="a user's row is divided by its length to this power")
    popularity_norm: float = Field(0.0, ge=0, le=1, description="scores are divided by item counts to this power")


class Ease(ItemToItem):
    """The matrix with a zero diagonal that best restores users' rows: `B = I - P / diag(P)`, `P = (X'X + l2 I)^-1`."""

    card = ModelCard(
        name="ease",
        family="linear",
        needs="interactions; their order where a decay is set; memory for items squared",
        good_at="up to some ten thousand items; a strong baseline everywhere",
        source="Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019",
        items_squared=True,
    )
    Settings = EaseSettings
    presets = {
        "quality": {"l2": 50.0, "row_norm": 0.5},
        "short_rows": {"l2": 20.0, "row_norm": 1.0},
        "next_item": {"history_decay": 0.9},
    }
    space = {"l2": "log:10..5000", "row_norm": "0.0..1.0", "popularity_norm": "0.0..0.5", "history_decay": "0.7..1.0"}

    def item_weights(self, train: Sequences) -> Any:
        """Return the closed form, dense."""
        rows = train.matrix(self.settings.train_decay**train.ages)
        lengths = np.maximum(np.asarray(rows.sum(axis=1)).ravel(), 1)
        scaled = rows.multiply(lengths[:, None] ** (-self.settings.row_norm / 2)).tocsr()
        gram = (scaled.T @ scaled).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.settings.l2
        precision = np.linalg.inv(gram)
        weights = -precision / np.diag(precision)
        np.fill_diagonal(weights, 0)
        counts = np.maximum(np.bincount(train.items, minlength=train.num_items), 1)
        return (weights / counts**self.settings.popularity_norm).astype(np.float32)
