"""References to models, what was found about them, releases, and who is champion."""

from typing import Any, Literal

from pydantic import Field

from pipelines.contracts.base import Ref
from pipelines.contracts.data import Snapshot, TrainingSet


class ModelVersion(Ref):
    """A registered version in MLflow."""

    name: str
    version: str
    run_id: str
    dataset: str
    digest: str = Field(description="SHA-256 of the bundle folder: see stores.artifacts.folder_digest")
    metrics: dict[str, float] = Field(default_factory=dict)


class RankingSet(Ref):
    """(query, candidate) pairs with point-in-time features of both, for the ranking model.

    The folder holds `train.parquet` and `validation.parquet`; `query_id` groups the candidates of one query.
    """

    training_set: TrainingSet
    retrieval: ModelVersion
    uri: str
    fingerprint: str
    feature_service: str
    num_rows: dict[str, int]


class Evaluation(Ref):
    """Holdout metrics of a (retrieval, ranking) pair beside its baselines."""

    training_set: TrainingSet
    retrieval: ModelVersion
    ranking: ModelVersion
    uri: str = Field(description="folder with report.json, report.html and plots")
    metrics: dict[str, dict[str, float]] = Field(description="system -> metric -> value, such as ndcg_at_10")
    differences: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict,
        description="metric -> system -> how far the recommender is above it: models.significance.Difference",
    )


class ModelComparison(Ref):
    """Models that were evaluated on one holdout, side by side."""

    dataset: str
    holdout: str = Field(description="digest of users, items, what was seen and what is relevant: equal for all")
    metric: str
    reference: str = Field(description="what every other is held against")
    values: dict[str, float] = Field(description="line -> the metric")
    uri: str = Field(description="folder with report.json, report.html and plots")
    run_id: str = Field(description="the comparison's own run in MLflow")


class Search(Ref):
    """A study: trials of one model's settings on one training set, in a storage that several processes share."""

    study: str
    dataset: str
    model: str
    metric: str
    num_trials: int
    training_set: TrainingSet
    run_id: str


class SearchResult(Ref):
    """What a search has found so far; `settings` is dotted key -> value of the best trial."""

    study: str
    dataset: str
    model: str
    metric: str
    value: float
    settings: dict[str, Any]
    num_trials: int
    num_ended: dict[str, int]
    uri: str
    config: str
    run_id: str


class IndexManifest(Ref):
    """A nearest-neighbour index over one item corpus, built from one retrieval version."""

    retrieval: ModelVersion
    kind: Literal["scann", "brute_force", "item_to_item"]
    uri: str
    digest: str
    num_items: int
    embedding_dim: int
    recall: dict[str, float] = Field(description="recall_at_k against exact search on real queries")


class Release(Ref):
    """A registered `recommender`: query tower, ranker, index and item features that can only move together."""

    model: ModelVersion
    retrieval: ModelVersion
    ranking: ModelVersion
    index: IndexManifest
    snapshot: Snapshot
    metrics: dict[str, float]
    differences: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict, description="metric -> system -> how far this release is above it on the same users"
    )


class Comparison(Ref):
    """Whether a release may become champion, and the figures that decided it."""

    release: Release
    champion_version: str | None = Field(description="version behind the alias when compared; None if there was none")
    accepted: bool
    reason: str
    figures: dict[str, float] = Field(default_factory=dict, description="the promotion metric of each system compared")


class Promotion(Ref):
    """The outcome of promoting a release."""

    release: Release
    previous_version: str | None
    promoted: bool
    reason: str
    serving_version: str | None = None
