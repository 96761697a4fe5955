"""The as-of store joins what Feast's own DuckDB store joins, but for the differences that docs/joins.md lists."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, RequestSource, ValueType
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.stores import asof_in_memory
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from tests.support.asof import (
    CLASS_PATH,
    FEATURES,
    LABELS,
    NO_ON_DEMAND,
    UTC_US,
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

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Feast's store through Ibis
MINUTES = st.integers(0, 6)
TAGS = st.one_of(st.none(), st.lists(st.sampled_from(["x", "y"]), max_size=2))
ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([1, 2]), MINUTES, MINUTES, st.integers(0, 9), TAGS),
    min_size=1,
    max_size=16,
    unique_by=lambda row: row[:4],
)
USER = Entity(name="user_entity", join_keys=["user"], value_type=ValueType.STRING)
SHOP = Entity(name="shop_entity", join_keys=["shop"], value_type=ValueType.INT64)
REFS = ["both:value", "both:tags", "user_only:value", "friends:value", "friends:tags", "rivals:value"]
SHARES = {"in memory": asof_in_memory.SHARE_OF_BUDGET, "larger": -1}  # nothing fits into less than nothing
KEYS = st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([1, 2, None]))
ALIASED = LABELS.append(pa.field("friend", pa.string())).append(pa.field("rival", pa.string()))


def joined(store: type, folder: Path, kind: str, views: list[FeatureView], labels: Any, by_arrival: bool) -> Any:
    arguments = (config(folder, kind), views, REFS, labels, NO_ON_DEMAND, "p", True)
    job = store.get_historical_features(*arguments, filter_by_created_timestamp=by_arrival)
    table = job.to_arrow()  # type: ignore[attr-defined]  # Feast is not followed
    return table.select(["row", *(ref.replace(":", "__") for ref in REFS)])


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn_labels=st.lists(st.tuples(KEYS, MINUTES, KEYS), min_size=1, max_size=12),
    drawn_rows=ROWS,
    ttl=st.sampled_from([0, 3]),
    by_arrival=st.booleans(),
)
def test_feasts_own_store_joins_the_same(
    tmp_path: Path, drawn_labels: Any, drawn_rows: Any, ttl: int, by_arrival: bool
) -> None:
    """Two views, one key shared, and one of them twice more under other names and keys, in memory and larger.

    Duplicate and unmatched labels, and labels without a key, are among them.
    """
    rows_to_join = label_rows([(*keys, minute) for keys, minute, _ in drawn_labels])
    others = [{"friend": friend, "rival": "ab"[rival == 1]} for _, _, (friend, rival) in drawn_labels]
    labels = pa.Table.from_pylist([row | other for row, other in zip(rows_to_join, others, strict=True)], ALIASED)
    rows = feature_rows(drawn_rows)
    # One view's rows are those of a user that were created at different times: others tie.
    alone = list({(row["user"], row["ts"], row["created"]): row for row in rows}.values())
    both = feature_view(write_rows(tmp_path / "both.parquet", rows), "both", ttl=ttl)
    user_only = feature_view(write_rows(tmp_path / "alone.parquet", alone), "user_only", ("user",))
    user_only.batch_source.name = "alone"
    friends = both.with_name("friends").with_join_key_map({"user": "friend", "shop": "shop"})
    rivals = both.with_name("rivals").with_join_key_map({"user": "rival", "shop": "shop"})
    views = [both, user_only, friends, rivals]
    theirs = joined(DuckDBOfflineStore, tmp_path, "duckdb", views, labels.to_pandas(), by_arrival)
    expected = theirs.sort_by("row").to_pylist()
    for way, share in SHARES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asof_in_memory, "SHARE_OF_BUDGET", share)
            ours = joined(AsOfOfflineStore, tmp_path, CLASS_PATH, views, labels, by_arrival)
        assert ours.to_pylist() == expected, way


def declared(folder: Path, kind: str) -> FeatureStore:
    """A view under two names, once with another key, and one computed from it, as a user of Feast declares them."""
    rows = [one_row(user=user, value=value, ts=at(value)) for user in "ab" for value in range(3)]
    source = write_rows(folder / "rows.parquet", rows)
    pair = feature_view(source, "pair")
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Int64)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast's
        sources=[request, pair[["value"]]], schema=[Field(name="scaled_value", dtype=Int64)], mode="pandas"
    )
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled_value": inputs["value"] * inputs["factor"]})

    own = pair[["value"]].with_name("own")
    friends = pair[["value"]].with_name("friends").with_join_key_map({"user": "friend", "shop": "shop"})
    store = FeatureStore(config=config(folder, kind))
    service = FeatureService(name="service", features=[own, friends, scaled])
    store.apply([USER, SHOP, source, pair, scaled, service])
    return store


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
def test_on_demand_features_are_the_same_and_for_sql_too(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asof_in_memory, "SHARE_OF_BUDGET", share)
    labels = pa.table(
        {
            "row": [0, 1, 2, 2],
            "user": ["a", "b", "a", "a"],
            "friend": ["b", "c", None, "a"],
            "shop": [1, 1, 1, 1],
            "factor": [3, 3, 5, 5],
            "event_timestamp": pa.array([at(0), at(1), at(7), at(7)], UTC_US),
        }
    )
    pq.write_table(labels, tmp_path / "labels.parquet")
    names = ["row", "own__value", "friends__value", "scaled__scaled_value"]

    def features(kind: str, rows: Any) -> Any:
        (folder := tmp_path / kind).mkdir(exist_ok=True)
        store = declared(folder, kind)
        job = store.get_historical_features(rows, store.get_feature_service("service"), full_feature_names=True)
        return sorted(job.to_arrow().select(names).to_pylist(), key=str)

    theirs = features("duckdb", labels.to_pandas())
    assert [row["scaled__scaled_value"] for row in theirs] == [0, 3, 10, 10]
    for rows in (labels.to_pandas(), labels, f"SELECT * FROM read_parquet('{tmp_path}/labels.parquet')"):
        assert features(CLASS_PATH, rows) == theirs


def both(folder: Path, view: FeatureView, labels: pa.Table) -> tuple[list[Any], list[Any]]:
    ours = join(AsOfOfflineStore, config(folder), view, labels)
    theirs = join(DuckDBOfflineStore, config(folder, "duckdb"), view, labels.to_pandas())
    return ours["value"].to_pylist(), theirs["value"].to_pylist()


class TestDifferences:
    """What docs/joins.md says of Feast's DuckDB store is so."""

    def test_rows_that_tie_fall_by_file_order_there(self, tmp_path: Path) -> None:
        found = []
        for values in ((1, 2), (2, 1)):
            source = write_rows(tmp_path / "rows.parquet", [one_row(value=value) for value in values])
            found.append(both(tmp_path, feature_view(source, keys=("user",)), labels_at(1)))
        assert found == [([2], [1]), ([2], [2])]

    @pytest.mark.parametrize(
        "rows", [labels_at(1), "SELECT 'a' AS user, now() AS event_timestamp"], ids=["arrow", "sql"]
    )
    def test_only_frames_are_joined_there(self, tmp_path: Path, rows: Any) -> None:
        view = feature_view(write_rows(tmp_path / "rows.parquet", [one_row()]), keys=("user",))
        with pytest.raises(AttributeError):
            join(DuckDBOfflineStore, config(tmp_path, "duckdb"), view, rows)
        assert join(AsOfOfflineStore, config(tmp_path), view, rows)["value"].to_pylist() == [1]

    def test_a_column_whose_name_ends_like_a_helpers_is_lost_there(self, tmp_path: Path) -> None:
        table = pa.Table.from_pylist([one_row(value=4)], FEATURES)
        pq.write_table(table.rename_columns({"value": "value_y"}), tmp_path / "rows.parquet")
        plain = feature_view(parquet_source(tmp_path / "rows.parquet"), keys=("user",))
        schema = [Field(name="user", dtype=String), Field(name="value_y", dtype=Int64)]
        view = FeatureView(name="view", entities=[USER], schema=schema, source=plain.batch_source)
        arguments = ([view], ["view:value_y"])
        ours = AsOfOfflineStore.get_historical_features(config(tmp_path), *arguments, labels_at(1), NO_ON_DEMAND, "p")
        assert ours.to_arrow()["value_y"].to_pylist() == [4]
        with pytest.raises(Exception, match="value_y"):
            DuckDBOfflineStore.get_historical_features(
                config(tmp_path, "duckdb"), *arguments, labels_at(1).to_pandas(), NO_ON_DEMAND, "p"
            )
