"""Small tables, views and configurations for tests of the as-of offline store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Array, Int64, String

UTC_US = pa.timestamp("us", tz="UTC")
T0 = datetime(2024, 1, 1, tzinfo=UTC)
CLASS_PATH = "pipelines.stores.asof_offline_store.AsOfOfflineStore"
NO_ON_DEMAND = SimpleNamespace(list_on_demand_feature_views=lambda *args, **kwargs: [])

LABELS = pa.schema({"row": pa.int64(), "user": pa.string(), "shop": pa.int64(), "event_timestamp": UTC_US})
FEATURES = pa.schema(
    {
        "user": pa.string(),
        "shop": pa.int64(),
        "ts": UTC_US,
        "created": UTC_US,
        "value": pa.int64(),
        "tags": pa.list_(pa.string()),
    }
)
Row = dict[str, Any]


def at(minutes: int | None) -> datetime | None:
    return None if minutes is None else T0 + timedelta(minutes=minutes)


def feature_view(
    source: FileSource, name: str = "view", keys: tuple[str, ...] = ("user", "shop"), ttl: int = 0
) -> FeatureView:
    kinds = {"user": (ValueType.STRING, String), "shop": (ValueType.INT64, Int64)}
    return FeatureView(
        name=name,
        entities=[Entity(name=f"{key}_entity", join_keys=[key], value_type=kinds[key][0]) for key in keys],
        schema=[Field(name=key, dtype=kinds[key][1]) for key in keys]
        + [Field(name="value", dtype=Int64), Field(name="tags", dtype=Array(String))],
        source=source,
        ttl=timedelta(minutes=ttl),
    )


def parquet_source(path: Path, name: str = "rows", created: bool = True) -> FileSource:
    return FileSource(
        name=name,
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field="ts",
        created_timestamp_column="created" if created else "",
    )


def config(folder: Path, store: str = CLASS_PATH, **settings: Any) -> RepoConfig:
    return RepoConfig(
        project="p",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store=None,
        offline_store={"type": store, **settings},
        entity_key_serialization_version=3,
        repo_path=folder,
    )


def join(store: type, settings: RepoConfig, view: FeatureView, labels: Any, **options: Any) -> pa.Table:
    refs = [f"{view.name}:value", f"{view.name}:tags"]
    job = store.get_historical_features(settings, [view], refs, labels, NO_ON_DEMAND, "p", **options)
    return job.to_arrow()


def label_rows(drawn: list[tuple[Any, ...]]) -> list[Row]:
    return [{"row": n, "user": u, "shop": s, "event_timestamp": at(t)} for n, (u, s, t) in enumerate(drawn)]


def feature_rows(drawn: list[tuple[Any, ...]]) -> list[Row]:
    return [
        {"user": u, "shop": s, "ts": at(t), "created": at(c), "value": v, "tags": tags} for u, s, t, c, v, tags in drawn
    ]


def write_rows(path: Path, rows: list[Row]) -> FileSource:
    """Write feature rows as Parquet; those that lack columns have nulls there."""
    pq.write_table(pa.Table.from_pylist(rows, FEATURES), path)
    return parquet_source(path)


def one_row(**values: Any) -> Row:
    return {"user": "a", "shop": 1, "ts": at(0), "created": at(0), "value": 1, "tags": []} | values


def labels_at(*minutes: int, user: str = "a") -> pa.Table:
    moments = pa.array([at(minute) for minute in minutes], UTC_US)
    return pa.table({"user": [user] * len(minutes), "event_timestamp": moments})
