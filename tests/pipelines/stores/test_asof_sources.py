"""What the as-of store reads: Delta tables of any age, folders of files, columns of other names."""

from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Int64, String

from pipelines.stores.asof_offline_store import AsOfOfflineStore
from tests.support.asof import (
    FEATURES,
    NO_ON_DEMAND,
    UTC_US,
    at,
    config,
    feature_view,
    join,
    labels_at,
    one_row,
    parquet_source,
    write_rows,
)


def test_a_delta_table_is_read_at_its_pinned_version(tmp_path: Path) -> None:
    for value in (1, 2):
        rows = [{"user": "a b", "shop": 1, "ts": at(0), "created": at(0), "value": value, "tags": []}]
        write_deltalake(str(tmp_path / "lake/my rows"), pa.Table.from_pylist(rows, FEATURES), mode="overwrite")
    source = FileSource(
        name="pinned",
        path="my rows",
        file_format=DeltaFormat(),
        timestamp_field="ts",
        created_timestamp_column="created",
    )
    labels = pa.table({"user": ["a b"], "event_timestamp": pa.array([at(1)], UTC_US)})
    view = feature_view(source, keys=("user",))
    for versions, expected in (({"pinned": 0}, 1), ({"pinned": 1}, 2), ({}, 2)):
        settings = config(tmp_path, lake_uri=str(tmp_path / "lake"), versions=versions)
        assert join(AsOfOfflineStore, settings, view, labels)["value"].to_pylist() == [expected]


def test_an_empty_delta_table_gives_nulls(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "rows"), FEATURES.empty_table())
    source = FileSource(
        name="rows", path="rows", file_format=DeltaFormat(), timestamp_field="ts", created_timestamp_column="created"
    )
    labels = pa.table({"user": ["a"], "event_timestamp": pa.array([at(1)], UTC_US)})
    joined = join(
        AsOfOfflineStore, config(tmp_path, lake_uri=str(tmp_path)), feature_view(source, keys=("user",)), labels
    )
    assert joined.select(["value", "tags"]).to_pylist() == [{"value": None, "tags": None}]


def test_columns_of_the_source_may_have_other_names(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", [one_row(value=5)])
    source.field_mapping = {"user": "member", "value": "amount", "ts": "seen_at", "created": "stored_at"}
    source.timestamp_field, source.created_timestamp_column = "seen_at", "stored_at"
    view = FeatureView(
        name="view",
        entities=[Entity(name="member", join_keys=["member"], value_type=ValueType.STRING)],
        schema=[Field(name="member", dtype=String), Field(name="amount", dtype=Int64)],
        source=source,
    )
    labels = pa.table({"member": ["a"], "event_timestamp": pa.array([at(1)], UTC_US)})
    job = AsOfOfflineStore.get_historical_features(
        config(tmp_path), [view], ["view:amount"], labels, NO_ON_DEMAND, "p", filter_by_created_timestamp=True
    )
    assert job.to_arrow()["amount"].to_pylist() == [5]


def test_a_delta_table_with_older_files_and_one_in_folders(tmp_path: Path) -> None:
    """Files from before a column was added lack it; a column that folders are named by is in no file."""
    old = pa.Table.from_pylist([one_row(ts=at(0))], FEATURES).drop_columns(["value"])
    write_deltalake(str(tmp_path / "grown"), old)
    write_deltalake(
        str(tmp_path / "grown"),
        pa.Table.from_pylist([one_row(ts=at(2), value=2)], FEATURES),
        mode="append",
        schema_mode="merge",
    )
    rows = pa.Table.from_pylist([one_row(ts=at(0), value=3), one_row(ts=at(2), value=4, user="b")], FEATURES)
    write_deltalake(str(tmp_path / "split"), rows, partition_by=["user"])
    for name, expected in (("grown", [None, 2]), ("split", [3, 3])):
        source = FileSource(name=name, path=name, file_format=DeltaFormat(), timestamp_field="ts")
        view = feature_view(source, keys=("user",))
        settings = config(tmp_path, lake_uri=str(tmp_path))
        assert join(AsOfOfflineStore, settings, view, labels_at(1, 3))["value"].to_pylist() == expected


def test_a_folder_of_parquet_files_is_one_source(tmp_path: Path) -> None:
    for minute in (0, 2):
        folder = tmp_path / "rows" / f"m{minute}"
        folder.mkdir(parents=True)
        write_rows(folder / "part.parquet", [one_row(ts=at(minute), value=minute)])
    view = feature_view(parquet_source(tmp_path / "rows"), keys=("user",))
    assert join(AsOfOfflineStore, config(tmp_path), view, labels_at(1, 3))["value"].to_pylist() == [0, 2]
