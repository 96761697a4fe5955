"""Embed the item corpus with a retrieval version, index it, and measure what the index finds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import IndexConfig
from pipelines.contracts import ITEM_ID, Evaluation, IndexManifest, TrainingSet
from pipelines.errors import AnnIndexError
from pipelines.index.base import AnnIndex, Floats, recall_at_k
from pipelines.index.brute_force import BruteForceIndex
from pipelines.index.item_to_item import ItemToItemIndex
from pipelines.index.loading import build_index as build
from pipelines.index.loading import tune
from pipelines.index.sparse_vectors import SparseVectors
from pipelines.models.vectors import ItemVectors, embed_items, embed_queries
from pipelines.release import manifest as layout
from pipelines.stores.artifacts import content_key, folder_digest
from pipelines.stores.base import ArtifactStore, ModelRegistry

REPORT_FILE = "recall.json"


def build_index(
    evaluation: Evaluation,
    *,
    config: IndexConfig,
    feature_store: Any,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
) -> IndexManifest:
    """Publish an index over all items known at the snapshot; equal inputs give the folder that is there already.

    The folder holds `index/`, `items.parquet` (row order of the index) and `recall.json`. Recall is against
    exact search, on queries of the test split that the index was not tuned on.

    Args:
        evaluation: names the retrieval version and the training set whose test queries measure recall.
        config: size limits and the recall floor.
        feature_store: gives the item features at the snapshot (`items_at`).
        registry: has the retrieval bundle.
        artifacts: where the folder is published.
        seed: chooses the queries.

    Raises:
        AnnIndexError: there are no items, or recall is below `config.min_recall`.
    """
    retrieval, training_set = evaluation.retrieval, evaluation.training_set
    dataset = training_set.features.snapshot.dataset

    def write(folder: Path) -> None:
        bundle = registry.download(retrieval)
        items = _corpus(feature_store, training_set)
        index, recall = _build_measured(items, _queries(bundle, training_set, config, seed), bundle, config)
        pq.write_table(items, folder / layout.ITEMS)
        index.save(folder / layout.INDEX)
        report = {
            "recall": recall,
            "kind": index.kind,
            "num_items": index.num_items,
            "embedding_dim": index.embedding_dim,
        }
        (folder / REPORT_FILE).write_text(json.dumps(report, indent=2))

    key = content_key(
        retrieval=retrieval.digest, features=training_set.features.versions, config=config.model_dump(), seed=seed
    )
    folder = artifacts.local(uri := artifacts.publish(f"{dataset}/build_index/{key}", write))
    report = json.loads((folder / REPORT_FILE).read_text())
    return IndexManifest(retrieval=retrieval, uri=uri, digest=folder_digest(folder), **report)


def _corpus(feature_store: Any, training_set: TrainingSet) -> pa.Table:
    features = training_set.features
    items = feature_store.items_at(features.snapshot.as_of, features=features)
    if not items.num_rows:
        raise AnnIndexError(
            f"dataset {features.snapshot.dataset!r} has 0 items at {features.snapshot.as_of.isoformat()}; expected at "
            "least 1. Run `tandem ingest-events` for a source with items"
        )
    return items.sort_by(ITEM_ID)


def _queries(bundle: Path, training_set: TrainingSet, config: IndexConfig, seed: int) -> Floats:
    """Embed up to `config.num_queries` queries of the test split."""
    rows = pq.read_table(Path(training_set.uri) / "test.parquet")
    if not rows.num_rows:
        raise AnnIndexError("the test split has 0 rows, so recall cannot be measured; raise split.test_share")
    chosen = np.random.default_rng(seed).permutation(rows.num_rows)[: config.num_queries]
    return embed_queries(bundle, rows.take(pa.array(np.sort(chosen))))


def _build_measured(
    items: pa.Table, queries: Floats, bundle: Path, config: IndexConfig
) -> tuple[AnnIndex, dict[str, float]]:
    vectors = embed_items(bundle, items)
    index = build(vectors, config=config)
    top_k = min(config.recall_k, len(vectors))
    exact, _ = _exact(vectors).search(queries, top_k)
    # Odd queries tune the index, even ones judge it: a floor met only where it was tuned would mean nothing.
    tune(index, queries[1::2], exact[1::2], config=config)
    found, _ = index.search(queries[::2], top_k)
    recall = recall_at_k(found, exact[::2])
    if recall < config.min_recall:
        raise AnnIndexError(
            f"the {index.kind} index finds {recall:.4f} of the exact top {top_k} on {len(found)} queries; expected at "
            f"least {config.min_recall}. Search exactly by raising index.brute_force_below above {len(vectors)}, or "
            "lower index.min_recall"
        )
    return index, {f"recall_at_{top_k}": recall}


def _exact(vectors: ItemVectors) -> AnnIndex:
    return ItemToItemIndex(vectors) if isinstance(vectors, SparseVectors) else BruteForceIndex(vectors)
