"""Results of the as-of store through Feast's own API: on-demand features, batches, files, and the memory they need."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, Field, FileSource, RequestSource, ValueType
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from pipelines.errors import FeatureStoreError
from pipelines.stores import asof_join
from pipelines.stores.asof_job import AsOfRetrievalJob
from tests.support.asof import UTC_US, at, config, feature_view, labels_at, one_row, write_rows

REFS = ["by_user:value", "pair:value", "scaled:scaled_value"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:(Saving|Retrieving) dataset:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Two views and one computed from them, declared and applied as a user of Feast does."""
    folder = tmp_path_factory.mktemp("feast")
    rows = [one_row(value=value, shop=value, ts=at(value), created=at(value + 4)) for value in range(3)]
    source = write_rows(folder / "rows.parquet", rows)
    by_user, pair = feature_view(source, "by_user", ("user",)), feature_view(source, "pair", ("user", "shop"))
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Int64)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast's
        sources=[request, by_user[["value"]]], schema=[Field(name="scaled_value", dtype=Float64)], mode="pandas"
    )
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled_value": inputs["value"] * inputs["factor"] / 2})

    opened = FeatureStore(config=config(folder))
    entities = [
        Entity(name="user_entity", join_keys=["user"], value_type=ValueType.STRING),
        Entity(name="shop_entity", join_keys=["shop"], value_type=ValueType.INT64),
    ]
    opened.apply([*entities, source, by_user, pair, scaled])
    return opened


def rows_to_join() -> pa.Table:
    return (
        labels_at(0, 1, 7, 7).append_column("shop", pa.array([1, 1, 1, 9])).append_column("factor", pa.array([3] * 4))
    )


@pytest.mark.parametrize("given_as", [lambda rows: rows, pa.Table.to_pandas], ids=["arrow", "frame"])
def test_on_demand_features_with_full_names(store: FeatureStore, given_as: Any) -> None:
    job = store.get_historical_features(given_as(rows_to_join()), REFS, full_feature_names=True)
    joined = job.to_arrow().to_pydict()
    assert joined["by_user__value"] == [0, 1, 2, 2]
    assert joined["pair__value"] == [None, 1, 1, None]
    assert joined["scaled__scaled_value"] == [0, 1.5, 3, 3]


def test_the_bitemporal_rule_by_feasts_own_option(store: FeatureStore) -> None:
    job = store.get_historical_features(rows_to_join(), ["by_user:value"], filter_by_created_timestamp=True)
    assert job.to_arrow()["value"].to_pylist() == [None, None, 2, 2]


def test_batches_hold_what_the_whole_holds(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("asof_join", "asof_entities", "asof_offline_store"):
        monkeypatch.setattr(f"pipelines.stores.{module}.BATCH_ROWS", 3)
    job = store.get_historical_features(rows_to_join(), REFS, full_feature_names=True)
    batches = list(job.to_arrow_reader())
    assert [batch.num_rows for batch in batches] == [3, 1]
    assert pa.Table.from_batches(batches).to_pylist() == job.to_arrow().to_pylist()
    nothing = store.get_historical_features(rows_to_join().slice(0, 0), REFS, full_feature_names=True)
    assert nothing.to_arrow_reader().read_all().schema == batches[0].schema


@pytest.mark.parametrize("name", ["kept.parquet", "folder"])
def test_a_result_is_kept_as_parquet(store: FeatureStore, tmp_path: Path, name: str) -> None:
    job = store.get_historical_features(rows_to_join(), REFS, full_feature_names=True)
    storage = SavedDatasetFileStorage(str(tmp_path / name))
    saved = store.create_saved_dataset(job, name, storage)
    assert sorted(saved.to_arrow()["scaled__scaled_value"].to_pylist()) == [0, 1.5, 3, 3]
    assert (saved.min_event_timestamp, saved.max_event_timestamp) == (at(0), at(7))
    with pytest.raises(FeatureStoreError, match="allow_overwrite"):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_result_is_kept_as_delta(store: FeatureStore, tmp_path: Path) -> None:
    storage = SavedDatasetFileStorage(str(tmp_path / "kept"), file_format=DeltaFormat())
    job = store.get_historical_features(rows_to_join(), ["by_user:value"])
    for _ in range(2):
        job.persist(storage, allow_overwrite=True)
        kept = FileSource(name="kept", path=str(tmp_path / "kept"), file_format=DeltaFormat(), timestamp_field="ts")
        pulled = store.provider.offline_store.pull_all_from_table_or_query(
            store.config, kept, ["user"], ["value"], "event_timestamp"
        )
        assert pulled.to_arrow()["value"].to_pylist() == [0, 1, 2, 2]
    with pytest.raises(FeatureStoreError, match="exists"):
        job.persist(storage)


def test_a_file_that_fails_halfway_does_not_appear(tmp_path: Path) -> None:
    def broken() -> pa.RecordBatchReader:
        def batches() -> Any:
            yield pa.record_batch({"a": [1]})
            raise FeatureStoreError("the disk is gone")

        return pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())

    job = AsOfRetrievalJob(broken, config(tmp_path).offline_store)
    with pytest.raises(FeatureStoreError, match="the disk is gone"):
        job.persist(SavedDatasetFileStorage(str(tmp_path / "kept.parquet")))
    assert not (tmp_path / "kept.parquet").exists()


def test_readers_of_different_length_are_not_joined() -> None:
    batch = asof_join.BATCH_ROWS
    for lengths, message in (((2, 3), "expected length 2"), ((batch, batch + 1), "longer")):
        readers = [pa.table({name: range(num)}).to_reader() for name, num in zip("ab", lengths, strict=True)]
        with pytest.raises(ValueError, match=message):
            asof_join.side_by_side(readers).read_all()


def test_two_joins_never_share_a_spill_folder(tmp_path: Path) -> None:
    budget = {"memory_limit": "50MB", "threads": 1, "temp_directory": str(tmp_path / "spill")}
    first, second = asof_join.connect(**budget), asof_join.connect(**budget)
    assert len(list((tmp_path / "spill").iterdir())) == 2
    del first, second
    assert list((tmp_path / "spill").iterdir()) == []


# Labels as SQL, four views with lists of text, the result straight to a file.
LARGE_JOIN = """
import sys
from pathlib import Path
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from tests.support.asof import NO_ON_DEMAND, config, feature_view, parquet_source
def peak_mb():
    # Not `ru_maxrss`: a process inherits its parent's, so that after large tests nothing would seem to be used.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
folder = Path(sys.argv[1])
settings = config(folder, memory_limit=sys.argv[2], threads=2, temp_directory=str(folder / "spill"))
views = [feature_view(parquet_source(folder / "rows.parquet"), name, ("user",)) for name in "abcd"]
refs = [f"{view.name}:{feature}" for view in views for feature in ("value", "tags")]
sql = f"SELECT * FROM read_parquet('{folder}/labels.parquet')"
job = AsOfOfflineStore.get_historical_features(settings, views, refs, sql, NO_ON_DEMAND, "p", True)
before = peak_mb()
job.persist(SavedDatasetFileStorage(str(folder / "joined.parquet")))
print(peak_mb() - before)
"""


def test_a_join_far_larger_than_its_budget_finishes_near_it(tmp_path: Path) -> None:
    num, budget_mb = 60_000, 150
    moments = pa.array(range(num), pa.int64()).cast(UTC_US)
    users = pa.array([f"a user with a long name {n % 997}" for n in range(num)])
    tags = pa.array([[f"{n} " * 250, f"the second tag of row {n}"] for n in range(num)])
    numbers = pa.array(range(num))
    features = {"user": users, "shop": numbers, "ts": moments, "created": moments, "value": numbers, "tags": tags}
    pq.write_table(pa.table(features), tmp_path / "rows.parquet")
    labels = pa.table({"user": users, "row": numbers, "event_timestamp": moments})
    pq.write_table(labels, tmp_path / "labels.parquet")
    command = [sys.executable, "-c", LARGE_JOIN, str(tmp_path), f"{budget_mb}MB"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    joined = pq.read_table(tmp_path / "joined.parquet")
    assert joined.select(["row", "a__value"]).equals(pa.table({"row": numbers, "a__value": numbers}))
    size_mb, used_mb = joined.nbytes // 2**20, int(result.stdout.split()[-1])
    # 260 MB beside the budget when measured: libraries (75), batches on their way (90), what DuckDB does not count.
    assert budget_mb < size_mb / 2
    assert used_mb < budget_mb + 320, f"{used_mb} MB for {size_mb} MB on a budget of {budget_mb} MB"
    assert list((tmp_path / "spill").iterdir()) == []
