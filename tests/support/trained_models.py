"""The training steps run once on tiny rows: what later steps and their tests start from."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipelines.config import RankingConfig, RetrievalConfig
from pipelines.contracts import ModelVersion, RankingSet, TrainingSet
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.memory_registry import MemoryRegistry
from tests.support.model_refs import RowFeatureStore, RowLake, training_set
from tests.support.rows import feature_rows

RETRIEVAL = RetrievalConfig(embedding_dim=8, hidden_units=(8,), feature_dim=4, batch_size=64, epochs=2)
RANKING = RankingConfig(
    num_queries=100, num_candidates=10, num_retrieved=20, embedding_dim=4, hidden_units=(8,), batch_size=128, epochs=2
)
SEED = 1


@dataclass(frozen=True)
class World:
    """Stores and what was made in them."""

    rows: pa.Table
    training_set: TrainingSet
    feature_store: RowFeatureStore
    lake: RowLake
    registry: MemoryRegistry
    artifacts: LocalArtifacts
    retrieval: ModelVersion
    ranking_set: RankingSet
    ranking: ModelVersion


def train_world(root: Path) -> World:
    """Train retrieval and ranking on 1,000 tiny rows."""
    from pipelines.steps.build_ranking_set import build_ranking_set
    from pipelines.steps.train_ranking import train_ranking
    from pipelines.steps.train_retrieval import train_retrieval

    rows = feature_rows(1_000)
    labels, features = training_set(root / "set", rows), RowFeatureStore(rows)
    registry, artifacts = MemoryRegistry(root / "registry"), LocalArtifacts(root / "runs")
    stores = {"registry": registry, "artifacts": artifacts}
    retrieval = train_retrieval(labels, config=RETRIEVAL, seed=SEED, **stores)
    pairs = build_ranking_set(labels, retrieval, config=RANKING, feature_store=features, seed=SEED, **stores)
    ranking = train_ranking(pairs, config=RANKING, seed=SEED, **stores)
    return World(rows, labels, features, RowLake(rows), registry, artifacts, retrieval, pairs, ranking)
