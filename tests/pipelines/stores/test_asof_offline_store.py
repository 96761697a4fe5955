"""The as-of store joins what a brute-force search joins, and what Feast's own store joins where that is right."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat, ParquetFormat
from feast.types import Array, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from pipelines.stores.asof_sources import timestamp_column

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


def brute_force(labels: list[Row], rows: list[Row], keys: tuple[str, ...], ttl: int, by_arrival: bool) -> list[Row]:
    found = []
    for label in labels:
        moment = label["event_timestamp"]
        seen = [
            row
            for row in rows
            if moment is not None
            and all(row[key] is not None and row[key] == label[key] for key in keys)
            and row["ts"] is not None
            and row["ts"] <= moment
            and (not by_arrival or (row["created"] is not None and row["created"] <= moment))
        ]
        first = datetime(1, 1, 1, tzinfo=UTC)
        best = max(
            seen,
            key=lambda r: (r["ts"], r["created"] or first, _nulls_last(r["value"]), _nulls_last(r["tags"])),
            default=None,
        )
        if best is not None and ttl and moment - best["ts"] > timedelta(minutes=ttl):
            best = None
        found.append({"value": best and best["value"], "tags": best and best["tags"]})
    return found


def _nulls_last(value: Any) -> tuple[bool, Any]:
    return value is not None, value if value is not None else 0


MINUTES = st.integers(0, 6)
USERS, SHOPS = st.sampled_from(["a", "b", "ü", None]), st.sampled_from([1, 2, None])
LABEL_ROWS = st.lists(st.tuples(USERS, SHOPS, st.one_of(MINUTES, st.none())), min_size=4, max_size=12)
TAGS = st.one_of(st.none(), st.lists(st.sampled_from(["x", "y"]), max_size=2))
FEATURE_ROWS = st.lists(
    st.tuples(USERS, SHOPS, MINUTES, st.one_of(MINUTES, st.none()), st.integers(0, 3) | st.none(), TAGS),
    min_size=6,
    max_size=16,
)
SLOWLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def label_rows(drawn: list[tuple[Any, ...]]) -> list[Row]:
    return [{"row": n, "user": u, "shop": s, "event_timestamp": at(t)} for n, (u, s, t) in enumerate(drawn)]


def feature_rows(drawn: list[tuple[Any, ...]]) -> list[Row]:
    return [
        {"user": u, "shop": s, "ts": at(t), "created": at(c), "value": v, "tags": tags} for u, s, t, c, v, tags in drawn
    ]


@SLOWLY
@given(
    drawn_labels=LABEL_ROWS,
    drawn_rows=FEATURE_ROWS,
    keys=st.sampled_from([("user",), ("shop",), ("user", "shop")]),
    ttl=st.sampled_from([0, 3]),
    by_arrival=st.booleans(),
)
def test_every_label_gets_the_row_a_search_finds(
    tmp_path: Path, drawn_labels: Any, drawn_rows: Any, keys: tuple[str, ...], ttl: int, by_arrival: bool
) -> None:
    labels, rows = label_rows(drawn_labels), feature_rows(drawn_rows)
    pq.write_table(pa.Table.from_pylist(rows, FEATURES), tmp_path / "rows.parquet")
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=keys, ttl=ttl)
    table = pa.Table.from_pylist(labels, LABELS)
    joined = join(AsOfOfflineStore, config(tmp_path), view, table, filter_by_created_timestamp=by_arrival)
    assert joined.select(LABELS.names).equals(table)
    assert joined.select(["value", "tags"]).to_pylist() == brute_force(labels, rows, keys, ttl, by_arrival)


def test_edges_of_time(tmp_path: Path) -> None:
    """A row is seen from its own microsecond on, and up to its TTL, inclusive."""
    rows = [{"user": "a", "shop": 1, "ts": at(0), "created": at(0), "value": 1, "tags": []}]
    pq.write_table(pa.Table.from_pylist(rows, FEATURES), tmp_path / "rows.parquet")
    moment, instant = at(0), timedelta(microseconds=1)
    moments = [moment - instant, moment, moment + timedelta(minutes=3), moment + timedelta(minutes=3) + instant]
    labels = pa.table({"user": ["a"] * 4, "event_timestamp": pa.array(moments, UTC_US)})
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=("user",), ttl=3)
    assert join(AsOfOfflineStore, config(tmp_path), view, labels)["value"].to_pylist() == [None, 1, 1, None]


@settings(SLOWLY, max_examples=15)
@given(
    drawn_labels=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2]), MINUTES), min_size=1, max_size=12),
    drawn_rows=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([1, 2]), MINUTES, MINUTES, st.integers(0, 9), TAGS),
        min_size=1,
        max_size=16,
        unique_by=lambda row: row[:4],
    ),
    ttl=st.sampled_from([0, 3]),
)
@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Feast's store through Ibis
def test_feasts_own_store_joins_the_same(tmp_path: Path, drawn_labels: Any, drawn_rows: Any, ttl: int) -> None:
    """Rows that only differ in content are left out: which of them Feast's store returns is up to chance."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    labels = pa.Table.from_pylist(label_rows(drawn_labels), LABELS)
    pq.write_table(pa.Table.from_pylist(feature_rows(drawn_rows), FEATURES), tmp_path / "rows.parquet")
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), ttl=ttl)
    theirs = join(DuckDBOfflineStore, config(tmp_path, "duckdb"), view, labels.to_pandas())
    ours = join(AsOfOfflineStore, config(tmp_path), view, labels)
    names = ["row", "value", "tags"]
    assert ours.select(names).to_pylist() == theirs.select(names).sort_by("row").to_pylist()


@pytest.fixture
def two_views(tmp_path: Path) -> tuple[RepoConfig, list[FeatureView]]:
    rows = [{"user": "a", "shop": 1, "ts": at(0), "created": at(0), "value": 7, "tags": ["x"]}]
    pq.write_table(pa.Table.from_pylist(rows, FEATURES), tmp_path / "rows.parquet")
    source = parquet_source(tmp_path / "rows.parquet")
    views = [feature_view(source, "by_user", ("user",)), feature_view(source, "by_shop", ("shop",))]
    return config(tmp_path), views


def as_frame(table: pa.Table) -> Any:
    return table.to_pandas()


def as_sql(table: pa.Table) -> str:
    (row,) = table.to_pylist()
    moment = "TIMESTAMPTZ '2024-01-01 00:05:00+00'"
    return f"SELECT {row['row']} AS row, '{row['user']}' AS user, {row['shop']} AS shop, {moment} AS event_timestamp"


@pytest.mark.parametrize("given_as", [lambda table: table, as_frame, as_sql], ids=["arrow", "frame", "sql"])
def test_several_views_and_full_names(two_views: Any, given_as: Callable[[pa.Table], Any]) -> None:
    settings, views = two_views
    labels = pa.Table.from_pylist([{"row": 0, "user": "a", "shop": 2, "event_timestamp": at(5)}], LABELS)
    refs = ["by_user:value", "by_shop:value", "by_shop:tags"]
    job = AsOfOfflineStore.get_historical_features(settings, views, refs, given_as(labels), NO_ON_DEMAND, "p", True)
    (row,) = job.to_arrow().select(["by_user__value", "by_shop__value", "by_shop__tags"]).to_pylist()
    assert row == {"by_user__value": 7, "by_shop__value": None, "by_shop__tags": None}
    assert job.to_df()["by_user__value"].tolist() == [7]


def test_a_view_joined_under_another_key_name(two_views: Any) -> None:
    settings, (view, _) = two_views
    friend = view.with_join_key_map({"user": "friend"}).with_name("friends")
    labels = pa.table({"friend": ["a", "b"], "event_timestamp": pa.array([at(1)] * 2, UTC_US)})
    job = AsOfOfflineStore.get_historical_features(settings, [friend], ["friends:value"], labels, NO_ON_DEMAND, "p")
    assert job.to_arrow()["value"].to_pylist() == [7, None]


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


@SLOWLY
@given(drawn_rows=FEATURE_ROWS, start=MINUTES, end=MINUTES)
def test_latest_rows_within_a_window(tmp_path: Path, drawn_rows: Any, start: int, end: int) -> None:
    rows = [row for row in feature_rows(drawn_rows) if row["user"]]
    pq.write_table(pa.Table.from_pylist(rows, FEATURES), tmp_path / "rows.parquet")
    job = AsOfOfflineStore.pull_latest_from_table_or_query(
        config(tmp_path),
        parquet_source(tmp_path / "rows.parquet"),
        ["user"],
        ["value", "tags"],
        "ts",
        "created",
        at(start),
        at(end),
    )
    labels = [
        {"row": 0, "user": name, "shop": None, "event_timestamp": at(end)} for name in sorted({r["user"] for r in rows})
    ]
    within = [row for row in rows if row["ts"] >= at(start)]
    expected = {
        label["user"]: hit["value"]
        for label, hit in zip(labels, brute_force(labels, within, ("user",), 0, False), strict=True)
        if any(row["user"] == label["user"] and row["ts"] <= at(end) for row in within)
    }
    latest = job.to_arrow()
    assert dict(zip(latest["user"].to_pylist(), latest["value"].to_pylist(), strict=True)) == expected


def test_all_rows_within_a_window(two_views: Any, tmp_path: Path) -> None:
    settings, (view, _) = two_views
    pull = AsOfOfflineStore.pull_all_from_table_or_query
    arguments = (settings, view.batch_source, ["user"], ["value"], "ts", "created")
    assert pull(*arguments, at(0), at(1)).to_arrow().num_rows == 1
    assert pull(*arguments, at(1), at(2)).to_arrow().num_rows == 0
    assert pull(*arguments).to_arrow()["value"].to_pylist() == [7]


def test_spilling_does_not_change_the_result(tmp_path: Path) -> None:
    num = 60_000
    moments = pa.array(range(num), pa.int64()).cast(UTC_US)
    rows = pa.table(
        {
            "user": [f"u{n % 97}" for n in range(num)],
            "shop": [1] * num,
            "ts": moments,
            "created": moments,
            "value": range(num),
            "tags": [["some tag", "another tag"]] * num,
        }
    )
    pq.write_table(rows.cast(FEATURES), tmp_path / "rows.parquet")
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=("user",))
    labels = pa.table({"user": rows["user"], "event_timestamp": moments})
    tight = config(tmp_path, memory_limit="60MB", temp_directory=str(tmp_path / "spill"), threads=1)
    assert join(AsOfOfflineStore, tight, view, labels)["value"].to_pylist() == list(range(num))


def test_clear_errors(two_views: Any, tmp_path: Path) -> None:
    settings, (view, _) = two_views
    moments = pa.array([at(1)], UTC_US)
    with pytest.raises(FeatureStoreError, match=r"lack join keys \['user'\]"):
        join(AsOfOfflineStore, settings, view, pa.table({"event_timestamp": moments}))
    with pytest.raises(FeatureStoreError, match="entity_df as a frame"):
        join(AsOfOfflineStore, settings, view, None)
    with pytest.raises(FeatureStoreError, match="exactly one"):
        timestamp_column(pa.table({"a": moments, "b": moments}))
    assert timestamp_column(pa.table({"when": moments})) == "when"


def test_a_result_is_kept_as_parquet(two_views: Any, tmp_path: Path) -> None:
    settings, (view, _) = two_views
    labels = pa.table({"user": ["a"], "event_timestamp": pa.array([at(1)], UTC_US)})
    job = AsOfOfflineStore.get_historical_features(settings, [view], ["by_user:value"], labels, NO_ON_DEMAND, "p")
    storage = SimpleNamespace(to_data_source=lambda: SimpleNamespace(path=str(tmp_path / "kept.parquet")))
    job.persist(storage)
    assert pd.read_parquet(tmp_path / "kept.parquet")["value"].tolist() == [7]
    with pytest.raises(FeatureStoreError, match="allow_overwrite"):
        job.persist(storage)
