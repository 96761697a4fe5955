"""Profile vectors: a user is the average of what they liked."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipelines.config import Section
from pipelines.models.retrievers.base import Fitted, Floats, ModelCard, RunOptions, Validation
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.item2vec import Item2VecSettings, history_mean, item_vectors, with_popularity
from pipelines.models.retrievers.item_to_item import HistorySettings
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.retrievers.svd import Svd, SvdSettings
from pipelines.models.sequences import Sequences


class ProfileSettings(HistorySettings):
    """Which vectors are averaged, and with what weights."""

    vectors: Literal["item2vec", "svd"] = Field("item2vec", description="model whose item vectors are averaged")
    vector_settings: dict[str, Any] = Field({}, description="settings of that model, over its defaults")
    history_decay: float = Field(0.8, gt=0, le=1, description="weight of an interaction against the one after it")
    weighting: Literal["plain", "rated"] = Field(
        "plain", description="plain: liked items alike; rated: by the value less the user's mean, disliked ones against"
    )
    liked_from: float | None = Field(None, description="plain: items of this value or more are liked; none takes all")
    profile_weight: float = Field(0.2, ge=0, le=1, description="of the training profile; the rest is of the history")
    popularity_weight: float = Field(
        0.05, ge=0, description="of the log of an item's share, beside the cosine-like score"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.of_vectors()
        return self

    def of_vectors(self) -> Section:
        """Return the settings of the model whose vectors are averaged."""
        kind = Item2VecSettings if self.vectors == "item2vec" else SvdSettings
        return kind(**self.vector_settings)


class Profile(FactorRetriever):
    """Unit item vectors, and for a query the mean of its history's, mixed with its user's profile from training.

    The profile of a known user is where values reach serving, which knows the history's order alone: liked items
    pull, disliked ones push. A user who is not known, or liked and disliked nothing, is the history alone.
    """

    card = ModelCard(
        name="profile",
        family="embedding",
        needs="order of events for item2vec's vectors; values for the rated weighting",
        good_at="showing what a user likes as one vector; ratings that say like and dislike",
        source="Pazzani and Billsus, Content-based recommendation systems, 2007 (Rocchio's profile)",
    )
    Settings = ProfileSettings
    space = {"vectors": ["item2vec", "svd"], "history_decay": "0.5..1.0", "profile_weight": "0.0..0.8"}
    learned = ("items", "popularity", "profiles")

    def __init__(self, settings: ProfileSettings | None = None) -> None:
        super().__init__(settings)
        self.profiles = np.zeros((0, 0), dtype=np.float32)

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Learn the items' vectors, then average them a user."""
        fitted = super().fit(train, options=options, validation=validation)
        self.profiles = history_mean(train, self.items[:, :-1], self._liking(train))
        return Fitted(fitted.fit, {"num_parameters": float(self.items.size + self.profiles.size)})

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Return the vectors of the chosen model, of length 1, and as last factor the weighted log of the share."""
        vectors = _vectors(train, self.settings, options)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return with_popularity(unit, self.popularity, self.settings.popularity_weight, len(train.items))

    def fold_in(self, queries: Sequences) -> Floats:
        """Return profile and history mixed, and 1 for the popularity, `[num_queries, num_factors]`."""
        weights = self.settings.history_decay**queries.ages * self._liking(queries)
        history = history_mean(queries, self.items[:, :-1], weights)
        share = self.settings.profile_weight
        known = np.pad(self.profiles, ((0, 1), (0, 0)))[np.where(queries.users < len(self.profiles), queries.users, -1)]
        return np.column_stack([share * known + (1 - share) * history, np.ones(len(queries), dtype=np.float32)])

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Average the history and add the user's profile."""
        share = self.settings.profile_weight
        decay = self.settings.history_decay ** np.arange(graph.layout.history_length)
        nothing = ((1, 0), (0, 0))
        history = graph.pooled_history((1 - share) * np.pad(self.items[:, :-1], nothing), decay)
        mixed = graph.op("Add", history, graph.lookup(share * np.pad(self.profiles, nothing), graph.user))
        return graph.op("Concat", mixed, graph.repeated(np.ones(1)), axis=1)

    def _liking(self, rows: Sequences) -> NDArray[Any]:
        """Return how much each interaction was liked, `[num_interactions]`; without values all were alike."""
        if rows.values is None:
            return np.ones(len(rows.items))
        if self.settings.weighting == "plain":
            least = self.settings.liked_from
            return np.ones(len(rows.items)) if least is None else (rows.values >= least).astype(np.float64)
        counts = np.maximum(rows.lengths, 1)
        mean = np.bincount(rows.rows, rows.values, len(rows)) / counts
        centred = rows.values - mean[rows.rows]
        # Who gave everything the same value said nothing by it but that it was used.
        spread = np.bincount(rows.rows, np.abs(centred), len(rows)) / counts
        return np.where(spread[rows.rows] > 1e-6, centred, 1.0)


def _vectors(train: Sequences, settings: ProfileSettings, options: RunOptions) -> Floats:
    chosen = settings.of_vectors()
    if isinstance(chosen, Item2VecSettings):
        return item_vectors(train, chosen, seed=options.seed)
    return Svd(chosen).item_factors(train, options)
