"""Write the feature rows of one window of time as files."""

from datetime import datetime
from pathlib import Path

from pipelines.contracts import EVENT_TIMESTAMP, FeatureExport, FeatureSet
from pipelines.data.lake import Lake
from pipelines.errors import ConfigError
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.stores.artifacts import content_key, folder_digest
from pipelines.stores.base import ArtifactStore


def export_features(
    features: FeatureSet, *, start: datetime, end: datetime, lake: Lake, artifacts: ArtifactStore
) -> FeatureExport:
    """Write one Parquet file a view with the rows whose values became knowable from `start` to before `end`.

    Running it again for the same feature set and window returns the files that are there; for the same rows of another
    feature set it writes the same bytes. No online store is touched.

    Args:
        features: feature tables of a snapshot at or after `end`.
        start: begin of the window.
        end: its end, exclusive.
        lake: where the feature tables are.
        artifacts: where the files go.

    Raises:
        ConfigError: the window is empty, or its end is later than the features know.
        LakeError: a table version is missing.
    """
    as_of = features.snapshot.as_of
    if not start < end <= as_of:
        raise ConfigError(
            f"window {start.isoformat()} to {end.isoformat()} is not within features as of {as_of.isoformat()}; "
            "expected start < end <= as of. Compute features for a later moment"
        )
    views = {name: version for name, version in features.versions.items() if name in FEATURE_TABLES}

    def write(folder: Path) -> None:
        import pyarrow.dataset as pads
        import pyarrow.parquet as pq

        for name, version in views.items():
            at = pads.field(EVENT_TIMESTAMP)
            rows = lake.dataset(FEATURE_TABLES[name].lake_table, version=version).to_table(
                filter=(at >= start) & (at < end)
            )
            key = rows.column_names[0]
            pq.write_table(
                rows.sort_by([(key, "ascending"), (EVENT_TIMESTAMP, "ascending")]), folder / f"{name}.parquet"
            )

    key = content_key(versions=views, start=start, end=end, lake=lake.root)
    uri = artifacts.publish(f"{features.snapshot.dataset}/export_features/{start:%Y-%m-%dT%H%M}_{key}", write)
    return FeatureExport(
        features=features,
        start=start,
        end=end,
        uri=uri,
        digest=folder_digest(artifacts.local(uri)),
        num_rows={name: _num_rows(artifacts.local(uri) / f"{name}.parquet") for name in views},
    )


def _num_rows(file: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)
