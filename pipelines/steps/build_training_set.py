"""Join labels to the features that were knowable when they happened, and split them by time."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import FeatureConfig, SplitConfig
from pipelines.contracts import FeatureSet, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.ledger import record_training_set
from pipelines.features.labels import SPLITS, read_labels, split_by_time
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.fingerprint import Fingerprint, combine
from pipelines.stores.revision import code_digest

FEATURE_SERVICE = "ranking_v1"
RESULT = "training_set.json"
CHUNK_ROWS = 250_000
JOIN_CODE = [f"stores/asof_{part}.py" for part in ("join", "in_memory", "match")]
CHUNKS_A_JOIN = {"duckdb": 1, "spark": 16}
"""A join on Spark reads all feature rows, however few labels it is for."""


def build_training_set(
    features: FeatureSet,
    *,
    split: SplitConfig,
    config: FeatureConfig,
    delay_seconds: float,
    lake: Lake,
    store: FeatureStore,
    artifacts: ArtifactStore,
    scratch: Path,
) -> TrainingSet:
    """Write train, validation and test rows: one row a label, in order of (`event_timestamp`, `event_id`).

    Every event known before the snapshot's `as_of` is a label; the newest `max_train_rows` of those before
    validation are kept. A row's features are those knowable at its `event_timestamp`: the row's own event, and
    events of the same microsecond, are not among them. Equal inputs give equal rows, and so an equal fingerprint.

    Args:
        features: feature tables of one snapshot.
        split: shares of validation and test, and how many training rows to keep.
        config: DuckDB's memory and threads.
        delay_seconds: how long after its event a row of the source becomes known, in seconds.
        lake: where the snapshot's events are.
        store: joins the features.
        artifacts: where the training set is published.
        scratch: folder to which DuckDB spills.

    Raises:
        TrainingError: a part of the split would be empty.
        FeatureStoreError: Feast refused the join.
    """
    key = content_key(
        features=features.model_dump(mode="json", exclude={"num_online"}),
        split=split.model_dump(),
        delay=delay_seconds,
        service=FEATURE_SERVICE,
        code=code_digest("features", *JOIN_CODE, "steps/build_training_set.py"),
    )

    work: Any = {"config": config, "lake": lake, "store": store, "scratch": scratch}
    uri = artifacts.publish(
        f"{features.snapshot.dataset}/build_training_set/{key}",
        lambda folder: write_training_set(folder, features, split=split, delay_seconds=delay_seconds, **work),
    )
    saved = TrainingSet.model_validate_json((artifacts.local(uri) / RESULT).read_text())
    training_set = saved.model_copy(update={"uri": uri, "features": features})
    record_training_set(lake, training_set, split=split, delay_seconds=delay_seconds)
    return training_set


def write_training_set(
    folder: Path,
    features: FeatureSet,
    *,
    split: SplitConfig,
    delay_seconds: float,
    config: FeatureConfig,
    lake: Lake,
    store: FeatureStore,
    scratch: Path,
) -> None:
    """Write the three parts and `training_set.json` into `folder`; see `build_training_set`."""
    labels = read_labels(features.snapshot, config=config, delay_seconds=delay_seconds, lake=lake, scratch=scratch)
    times = split_by_time(labels, split)
    prints, num_rows = {}, {}
    for name, rows in _parts(labels, times.num_rows, split.max_train_rows).items():
        prints[name] = _write_part(
            folder / f"{name}.parquet", rows, store, features, chunks_a_join=CHUNKS_A_JOIN[config.engine]
        )
        num_rows[name] = rows.num_rows
    result = {"validation_start": times.validation_start.isoformat(), "test_start": times.test_start.isoformat()}
    _save(folder, features, combine(prints), num_rows, result)


def _parts(labels: pa.Table, sizes: dict[str, int], max_train_rows: int) -> dict[str, pa.Table]:
    """Labels of each split, in time order; of train only the newest."""
    parts, start = {}, 0
    for name in SPLITS:
        parts[name] = labels.slice(start, sizes[name])
        start += sizes[name]
    surplus = max(sizes["train"] - max_train_rows, 0)
    return parts | {"train": parts["train"].slice(surplus)}


def _write_part(file: Path, labels: pa.Table, store: FeatureStore, features: FeatureSet, *, chunks_a_join: int) -> str:
    """Join and write one part, some chunks at a time; return the fingerprint of its rows."""
    rows = Fingerprint()
    writer = None
    for first in range(0, labels.num_rows, CHUNK_ROWS * chunks_a_join):
        joined = store.historical(labels.slice(first, CHUNK_ROWS * chunks_a_join), FEATURE_SERVICE, features=features)
        writer = writer or pq.ParquetWriter(file, joined.schema, compression="zstd")
        # Row groups of one size, whatever the engine.
        for start in range(0, joined.num_rows, CHUNK_ROWS):
            writer.write_table(joined.slice(start, CHUNK_ROWS))
        rows.update(joined)
    if writer:
        writer.close()
    return rows.hexdigest()


def _save(
    folder: Path, features: FeatureSet, fingerprint: str, num_rows: dict[str, int], times: dict[str, str]
) -> None:
    result = TrainingSet(
        features=features.model_copy(update={"num_online": {}}),  # what is online decides no row
        uri="",
        fingerprint=fingerprint,
        feature_service=FEATURE_SERVICE,
        num_rows=num_rows,
        **times,
    )
    (folder / RESULT).write_text(result.model_dump_json(indent=2))
