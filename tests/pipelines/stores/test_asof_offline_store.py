"""The as-of store joins what a brute-force search joins."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, RepoConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import FeatureStoreError
from pipelines.stores import asof_in_memory, asof_join
from pipelines.stores.asof_entities import timestamp_column
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from tests.support.asof import (
    FEATURES,
    LABELS,
    NO_ON_DEMAND,
    UTC_US,
    Row,
    at,
    config,
    feature_rows,
    feature_view,
    join,
    label_rows,
    labels_at,
    one_row,
    parquet_source,
    write_rows,
)


@pytest.fixture(scope="module", params=[asof_in_memory.SHARE_OF_BUDGET, -1], ids=["in memory", "larger"], autouse=True)
def share_of_budget(request: pytest.FixtureRequest) -> Iterator[float]:
    """Joins that fit into memory and those that do not, which nothing fits into here, are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asof_in_memory, "SHARE_OF_BUDGET", request.param)
        yield request.param


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
            key=lambda r: (r["ts"], r["created"] or first, _nulls_last(r["tags"]), _nulls_last(r["value"])),
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
SLOWLY = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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


def test_clear_errors(two_views: Any, tmp_path: Path) -> None:
    settings, (view, _) = two_views
    moments = pa.array([at(1)], UTC_US)
    with pytest.raises(FeatureStoreError, match=r"lack join keys \['user'\]"):
        join(AsOfOfflineStore, settings, view, pa.table({"event_timestamp": moments}))
    with pytest.raises(FeatureStoreError, match="entity_df as a frame"):
        join(AsOfOfflineStore, settings, view, None)
    with pytest.raises(FeatureStoreError, match="exactly one"):
        timestamp_column(pa.schema({"a": UTC_US, "b": UTC_US}))
    assert timestamp_column(pa.schema({"when": UTC_US})) == "when"


@pytest.mark.parametrize("late", [True, False])
def test_ties_are_found_while_the_join_runs_or_when_it_is_done(
    tmp_path: Path, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The join that is begun as if there were none has a result already, or is ended before it has."""
    monkeypatch.setattr(asof_in_memory, "SHARE_OF_BUDGET", -1)
    has_ties, joined, done = asof_join._has_ties, asof_join._joined, threading.Event()
    begun: list[bool] = []

    def look(connection: Any, view: Any) -> bool:
        done.wait(60 if late else 0)
        return has_ties(connection, view)

    def begin(connection: Any, labels: str, view: Any, *, ties: bool) -> Any:
        begun.append(ties)
        relation = joined(connection, labels, view, ties=ties)
        if ties:
            return relation
        return Begun(relation)

    class Begun:
        """A join that ends when ties were looked for, or, if it is interrupted first, like one that was."""

        def __init__(self, relation: Any) -> None:
            self._relation = relation

        def to_arrow_reader(self, num_rows: int) -> Any:
            if not late:
                raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")
            reader = self._relation.to_arrow_reader(num_rows)
            done.set()
            return reader

    monkeypatch.setattr(asof_join, "_has_ties", look)
    monkeypatch.setattr(asof_join, "_joined", begin)
    view = feature_view(write_rows(tmp_path / "rows.parquet", [one_row(value=1), one_row(value=2)]), keys=("user",))
    assert join(AsOfOfflineStore, config(tmp_path), view, labels_at(1))["value"].to_pylist() == [2]
    assert begun == [False, True]


def test_ties_fall_the_same_whatever_is_asked_for(tmp_path: Path) -> None:
    """Arrival decides first; then the content of all declared columns, asked for or not, in no order of the file."""
    rows = [
        one_row(value=3, tags=["a"]),
        one_row(value=1, tags=["b"]),
        one_row(value=9, tags=["c"], created=at(-1)),
        one_row(value=8, tags=["d"], created=None),
    ]
    for order in (rows, rows[::-1]):
        view = feature_view(write_rows(tmp_path / "rows.parquet", order), keys=("user",))
        assert join(AsOfOfflineStore, config(tmp_path), view, labels_at(1))["tags"].to_pylist() == [["b"]]
        job = AsOfOfflineStore.get_historical_features(
            config(tmp_path), [view], ["view:value"], labels_at(1), NO_ON_DEMAND, "p"
        )
        assert job.to_arrow()["value"].to_pylist() == [1]


def test_only_what_had_arrived_is_seen(tmp_path: Path) -> None:
    rows = [
        one_row(value=1, ts=at(0), created=at(0)),
        one_row(value=2, ts=at(1), created=at(5)),
        one_row(value=3, ts=at(2), created=at(3)),
        one_row(value=4, ts=at(2), created=at(4)),
        one_row(value=5, ts=at(6), created=None),
    ]
    view = feature_view(write_rows(tmp_path / "rows.parquet", rows), keys=("user",))
    labels = labels_at(0, 1, 2, 3, 4, 5, 6)
    by_arrival = join(AsOfOfflineStore, config(tmp_path), view, labels, filter_by_created_timestamp=True)
    assert by_arrival["value"].to_pylist() == [1, 1, 1, 3, 4, 4, 4]
    assert join(AsOfOfflineStore, config(tmp_path), view, labels)["value"].to_pylist() == [1, 2, 4, 4, 4, 4, 5]
    unaffected = feature_view(parquet_source(tmp_path / "rows.parquet", created=False), keys=("user",))
    joined = join(AsOfOfflineStore, config(tmp_path), unaffected, labels_at(1), filter_by_created_timestamp=True)
    assert joined["value"].to_pylist() == [2]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float64()], ids=str)
def test_whole_number_keys_of_any_width(tmp_path: Path, kind: pa.DataType) -> None:
    """A frame with a missing number holds all of them as floats."""
    source = write_rows(tmp_path / "rows.parquet", [one_row(shop=7)])
    labels = pa.table({"shop": pa.array([7, None, 8], kind), "event_timestamp": pa.array([at(1)] * 3, UTC_US)})
    joined = join(AsOfOfflineStore, config(tmp_path), feature_view(source, keys=("shop",)), labels)
    assert joined["value"].to_pylist() == [1, None, None]


def test_text_never_matches_numbers(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.parquet", [one_row(shop=7)])
    labels = pa.table({"shop": ["07"], "event_timestamp": pa.array([at(1)], UTC_US)})
    with pytest.raises(FeatureStoreError, match="BIGINT in the feature rows and VARCHAR"):
        join(AsOfOfflineStore, config(tmp_path), feature_view(source, keys=("shop",)), labels)


def test_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    naive = FEATURES.set(FEATURES.get_field_index("ts"), pa.field("ts", pa.timestamp("us")))
    table = pa.Table.from_pylist([one_row()], FEATURES).cast(naive)
    pq.write_table(table, tmp_path / "rows.parquet")
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=("user",))
    labels = labels_at(-1, 0)
    for given_as in (labels, labels.cast(pa.schema({"user": pa.string(), "event_timestamp": pa.timestamp("ns")}))):
        assert join(AsOfOfflineStore, config(tmp_path), view, given_as)["value"].to_pylist() == [None, 1]
    text = labels.to_pandas().astype({"event_timestamp": str})
    assert join(AsOfOfflineStore, config(tmp_path), view, text)["value"].to_pylist() == [None, 1]


def test_nothing_is_seen_a_nanosecond_early(tmp_path: Path) -> None:
    """Finer times than microseconds are rounded: labels down, features up."""
    finer = pa.timestamp("ns", "UTC")
    table = pa.Table.from_pylist([one_row()], FEATURES).drop_columns(["ts"])
    pq.write_table(table.append_column("ts", pa.array([1_600], pa.int64()).cast(finer)), tmp_path / "rows.parquet")
    view = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=("user",))
    moments = pa.array([1_599, 1_999, 2_000, -1, None], pa.int64()).cast(finer)
    labels = pa.table({"user": ["a"] * 5, "event_timestamp": moments})
    joined = join(AsOfOfflineStore, config(tmp_path), view, labels)
    assert joined["value"].to_pylist() == [None, None, 1, None, None]
    assert joined["event_timestamp"].combine_chunks().equals(moments)


def test_a_query_for_the_rows_is_asked_once_and_keeps_its_order(two_views: Any) -> None:
    settings, views = two_views
    sql = """
        SELECT CASE WHEN random() < 0.5 THEN 'a' ELSE 'b' END AS user, 1 AS shop, n AS row,
            TIMESTAMPTZ '2024-01-01 00:05:00+00' AS event_timestamp FROM range(200, 0, -1) AS numbers(n)
    """
    refs = ["by_user:value", "by_shop:value"]
    job = AsOfOfflineStore.get_historical_features(settings, views, refs, sql, NO_ON_DEMAND, "p", True)
    joined = job.to_arrow()
    assert joined["row"].to_pylist() == list(range(200, 0, -1))
    assert joined["by_shop__value"].to_pylist() == [7] * 200
    expected = [7 if user == "a" else None for user in joined["user"].to_pylist()]
    assert joined["by_user__value"].to_pylist() == expected


def test_a_name_is_never_given_twice(two_views: Any) -> None:
    settings, (view, _) = two_views
    labels = labels_at(1).append_column("value", pa.array([0]))
    with pytest.raises(FeatureStoreError, match=r"columns \['value'\] twice"):
        join(AsOfOfflineStore, settings, view, labels)
