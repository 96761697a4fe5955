"""The as-of store joins what Feast's own DuckDB store joins, but for the differences that docs/joins.md lists."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, ValueType
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.stores.asof_offline_store import AsOfOfflineStore
from tests.support.asof import (
    FEATURES,
    LABELS,
    NO_ON_DEMAND,
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
REFS = ["both:value", "both:tags", "user_only:value"]


def joined(store: type, folder: Path, kind: str, views: list[FeatureView], labels: Any, by_arrival: bool) -> Any:
    arguments = (config(folder, kind), views, REFS, labels, NO_ON_DEMAND, "p", True)
    job = store.get_historical_features(*arguments, filter_by_created_timestamp=by_arrival)
    table = job.to_arrow()  # type: ignore[attr-defined]  # Feast is not followed
    return table.select(["row", *(ref.replace(":", "__") for ref in REFS)])


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn_labels=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([1, 2, None]), MINUTES),
        min_size=1,
        max_size=12,
    ),
    drawn_rows=ROWS,
    ttl=st.sampled_from([0, 3]),
    by_arrival=st.booleans(),
)
def test_feasts_own_store_joins_the_same(
    tmp_path: Path, drawn_labels: Any, drawn_rows: Any, ttl: int, by_arrival: bool
) -> None:
    """Two views, one key shared; duplicate and unmatched labels, and labels without a key, among them."""
    labels = pa.Table.from_pylist(label_rows(drawn_labels), LABELS)
    rows = feature_rows(drawn_rows)
    # One view's rows are those of a user that were created at different times: others tie.
    alone = list({(row["user"], row["ts"], row["created"]): row for row in rows}.values())
    views = [
        feature_view(write_rows(tmp_path / "both.parquet", rows), "both", ttl=ttl),
        feature_view(write_rows(tmp_path / "alone.parquet", alone), "user_only", ("user",)),
    ]
    views[1].batch_source.name = "alone"
    theirs = joined(DuckDBOfflineStore, tmp_path, "duckdb", views, labels.to_pandas(), by_arrival)
    ours = joined(AsOfOfflineStore, tmp_path, config(tmp_path).offline_store.type, views, labels, by_arrival)
    assert ours.to_pylist() == theirs.sort_by("row").to_pylist()


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
