"""Compute the feature tables of a snapshot and write them to the lake."""

from pathlib import Path

from pipelines.config import FeatureConfig
from pipelines.contracts import FeatureSet, Snapshot
from pipelines.data.lake import Lake
from pipelines.features.compute import write_feature_tables
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore
from pipelines.stores.revision import code_digest

RESULT = "features.json"


def compute_features(
    snapshot: Snapshot,
    *,
    config: FeatureConfig,
    delay_seconds: float,
    lake: Lake,
    artifacts: ArtifactStore,
    scratch: Path,
) -> FeatureSet:
    """Write one Delta table a feature view, each row stamped with when its values became knowable.

    Only rows known strictly before the snapshot's `as_of` are used. Running it again for the same snapshot,
    configuration and code returns the same table versions; after a kill the tables are written again, and the
    versions of a half-finished run are never named anywhere.

    Args:
        snapshot: lake versions and `as_of`.
        config: lengths of list features, and DuckDB's memory and threads.
        delay_seconds: how long after its event a row of the source becomes known, in seconds.
        lake: where raw tables are read and feature tables are written.
        artifacts: where the result is recorded.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: a table version of the snapshot is missing.
    """
    lengths = config.model_dump(include={"history_length", "seen_length", "window_length", "taste_length"})
    key = content_key(
        snapshot=snapshot.model_dump(mode="json"), delay=delay_seconds, code=code_digest("features"), **lengths
    )

    def write(folder: Path) -> None:
        versions, num_rows = write_feature_tables(
            snapshot, config=config, delay_seconds=delay_seconds, lake=lake, scratch=scratch
        )
        features = FeatureSet(snapshot=snapshot, versions=versions, num_rows=num_rows)
        (folder / RESULT).write_text(features.model_dump_json(indent=2))

    folder = artifacts.local(artifacts.publish(f"{snapshot.dataset}/compute_features/{key}", write))
    return FeatureSet.model_validate_json((folder / RESULT).read_text())
