"""Item neighbours: items used by the same people are alike."""

from typing import Any

import numpy as np
from pydantic import Field

from pipelines.models.retrievers.base import Fitted, ModelCard, RunOptions, Validation
from pipelines.models.retrievers.item_to_item import HistorySettings, ItemToItem
from pipelines.models.retrievers.similarity import Nearest, Similarity, interaction_values, nearest, unit_rows
from pipelines.models.sequences import Sequences


class ItemNeighbourSettings(HistorySettings):
    """Which items are alike, and how many of them count."""

    similarity: Similarity = Field(
        "cosine", description="cosine; of values: pearson (less an item's mean), adjusted_cosine (less a user's mean)"
    )
    num_neighbours: int = Field(200, ge=1, description="most similar items kept of each item")
    shrinkage: float = Field(10.0, ge=0, description="draws the similarity of items with few users in common to zero")


class ItemNeighbours(ItemToItem):
    """Similarity of each item to its nearest, summed over the history."""

    card = ModelCard(
        name="item_neighbours",
        family="neighbourhood",
        needs="interactions; values for pearson and adjusted cosine",
        good_at="any number of items; answers that can be explained",
        source="Sarwar and others, Item-based collaborative filtering recommendation algorithms, WWW 2001",
    )
    Settings = ItemNeighbourSettings
    space = {"num_neighbours": "log:20..1000", "shrinkage": "log:0.1..100.0", "history_decay": "0.7..1.0"}

    def __init__(self, settings: ItemNeighbourSettings | None = None) -> None:
        super().__init__(settings)
        self._nearest: Nearest = nearest

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Find the neighbours of each item, by whatever the run looks for them with."""
        self._nearest = options.nearest
        return super().fit(train, options=options, validation=validation)

    def item_weights(self, train: Sequences) -> Any:
        """Return similarities from item of the history to candidate, CSR."""
        settings = self.settings
        items = unit_rows(interaction_values(train, settings.similarity, of_users=False).T.tocsr())
        used = train.matrix().T.tocsr()
        limits: dict[str, Any] = {"num_nearest": settings.num_neighbours, "shrinkage": settings.shrinkage}
        return self._nearest(items, items, common=(used, used), same=np.arange(train.num_items), **limits).T.tocsr()
