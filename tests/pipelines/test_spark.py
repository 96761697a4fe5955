"""Spark gives the features, the joins and the online rows that DuckDB gives.

One file for all of it: starting Spark takes seconds, and a file has one session.
"""

import random
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake
from feast import FeatureView, FileSource
from feast.data_format import DeltaFormat

from pipelines.config import SparkConfig
from pipelines.contracts import FeatureSet
from pipelines.data.lake import Lake
from pipelines.errors import ConfigError, FeatureStoreError
from pipelines.features.compute import write_feature_tables
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.catalogue import retriever_class, retriever_settings
from pipelines.models.retrievers.similarity import Similarity, interaction_values, nearest, unit_rows
from pipelines.sources.movielens import MovieLensSource
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from pipelines.stores.feature_store import SPARK_OFFLINE_STORE
from pipelines.stores.spark_neighbours import SparkNeighbours
from pipelines.stores.spark_offline_store import SparkAsOfOfflineStore
from pipelines.stores.spark_session import open_session, session_conf
from tests.support.asof import (
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
    write_rows,
)
from tests.support.engines import assert_equal_tables, awkward_tables, both, fill
from tests.support.feature_data import Workspace
from tests.support.neighbours import clear, ratings
from tests.support.spark import SMALL, small_session

pytest.importorskip("pyspark")


@pytest.fixture(scope="module", autouse=True)
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    yield from small_session(tmp_path_factory.mktemp("spark"))


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """Two homes with the same raw rows, one an engine."""
    workspaces = both(tmp_path_factory.mktemp("engines"))
    for workspace in workspaces:
        fill(workspace, awkward_tables())
        workspace.store.apply()
    return workspaces


@pytest.fixture(scope="module")
def features(workspaces: tuple[Workspace, Workspace]) -> tuple[FeatureSet, FeatureSet]:
    duckdb, spark = (workspace.compute(workspace.snapshot()) for workspace in workspaces)
    return duckdb, spark


def test_feature_tables_are_equal_to_the_last_bit(
    workspaces: tuple[Workspace, Workspace], features: tuple[FeatureSet, FeatureSet]
) -> None:
    assert_equal_tables(*workspaces, features)
    assert min(features[0].num_rows.values()) > 3


def test_training_sets_have_one_fingerprint(
    workspaces: tuple[Workspace, Workspace], features: tuple[FeatureSet, FeatureSet]
) -> None:
    duckdb, spark = (workspace.train(found) for workspace, found in zip(workspaces, features, strict=True))
    assert duckdb.fingerprint == spark.fingerprint
    assert duckdb.num_rows == spark.num_rows


def test_the_same_comes_online(
    workspaces: tuple[Workspace, Workspace], features: tuple[FeatureSet, FeatureSet]
) -> None:
    stores = [workspace.store for workspace in workspaces]
    num_online = [store.materialize(found) for store, found in zip(stores, features, strict=True)]
    assert num_online[0] == num_online[1]
    for name in ("u0", "u3", "ü1"):
        duckdb, spark = (store.online_user_views(name) for store in stores)
        assert duckdb == spark
        assert spark["user_activity"][1]["user_num_events"] is not None
    assert list((workspaces[1].home / "feast" / "spill").glob("spark-*")) == []


def test_what_a_killed_run_left_is_in_no_version(tmp_path: Path) -> None:
    table = FEATURE_TABLES["user_profile"]
    lake = Lake(tmp_path)
    written = table.schema.empty_table()
    for folder in ("spark-killed", "spark-whole"):
        written = pa.Table.from_pylist([{"user_id": folder, "attributes": ["a"]}], table.schema)
        lake.overwrite("elsewhere", written)
        (tmp_path / table.lake_table / folder).mkdir(parents=True)
        source = Path(lake.files("elsewhere", lake.version("elsewhere") or 0)[0])
        source.rename(tmp_path / table.lake_table / folder / "part-00000.parquet")
    assert lake.adopt(table.lake_table, "spark-whole", table.schema) == (1, 1)
    assert lake.read(table.lake_table, version=1).equals(written)


@pytest.mark.realdata
def test_movielens_1m_is_equal_for_a_sample_of_users(tmp_path: Path, data_folder: Path) -> None:
    raw = MovieLensSource(data_folder / "ml-1m").read("all")
    tables = {name: getattr(raw, name).read_all() for name in ("events", "items", "users")}
    sample = pa.array([str(number) for number in range(1, 6_041, 200)])
    events = tables["events"].filter(pc.is_in(tables["events"]["user_id"], sample))
    tables["events"] = events.append_column("source_partition", pa.array(["all"] * events.num_rows))
    newest = pc.max(events["event_timestamp"]).as_py()
    workspaces, found = both(tmp_path), []
    for workspace in workspaces:
        fill(workspace, tables)
        snapshot = workspace.snapshot(newest + timedelta(days=1))
        work: dict[str, Any] = {"config": workspace.config, "lake": workspace.lake, "scratch": tmp_path / "scratch"}
        versions, num_rows = write_feature_tables(snapshot, delay_seconds=0.0, **work)
        found.append(FeatureSet(snapshot=snapshot, versions=versions, num_rows=num_rows))
    assert_equal_tables(*workspaces, (found[0], found[1]))
    assert found[1].num_rows["user_history"] > 2_000


REFS = ["both:value", "both:tags", "by_user:value", "by_shop:tags"]


def on_spark(folder: Path, **settings: Any) -> Any:
    return config(folder, SPARK_OFFLINE_STORE, staging_uri=str(folder / "staging"), **settings)


def drawn(seed: int, num: int, *values: list[Any]) -> list[tuple[Any, ...]]:
    rng = random.Random(seed)
    return [tuple(map(rng.choice, values)) for _ in range(num)]


USERS, SHOPS, MINUTES = ["a", "b", "ab", "ü", None], [1, 2, 12, None], [*range(12), None]
TAGS = [None, [], ["x"], ["x", "y"], ["x", None], [None]]


@pytest.fixture(scope="module")
def rows_and_labels() -> tuple[list[dict[str, Any]], pa.Table]:
    """Few keys and moments, so that most labels see ties; some rows and labels lack a key, a time or an arrival."""
    rows = feature_rows(drawn(1, 240, USERS, SHOPS, MINUTES, MINUTES, [*range(9), None], TAGS))
    return rows, pa.Table.from_pylist(label_rows(drawn(2, 300, USERS, SHOPS, MINUTES)), LABELS)


@pytest.mark.parametrize(("ttl", "by_arrival"), [(0, False), (3, True)])
def test_every_label_gets_what_the_as_of_store_gives(
    tmp_path: Path, rows_and_labels: Any, ttl: int, by_arrival: bool
) -> None:
    rows, labels = rows_and_labels
    source = write_rows(tmp_path / "rows.parquet", rows)
    keys = {"both": ("user", "shop"), "by_user": ("user",), "by_shop": ("shop",)}
    views = [feature_view(source, name, key, ttl) for name, key in keys.items()]
    arguments = (views, REFS, labels, NO_ON_DEMAND, "p", True)
    found = [
        store.get_historical_features(settings, *arguments, filter_by_created_timestamp=by_arrival).to_arrow()
        for store, settings in (
            (AsOfOfflineStore, config(tmp_path)),
            (SparkAsOfOfflineStore, on_spark(tmp_path)),
        )
    ]
    assert found[1].to_pylist() == found[0].to_pylist()
    assert found[1].schema.equals(found[0].schema)
    assert 20 < found[1]["by_user__value"].null_count < 200
    assert list((tmp_path / "staging").iterdir()) == []


def as_frame(table: pa.Table) -> Any:
    return table.to_pandas()


def as_sql(table: pa.Table) -> str:
    row = "SELECT 'a' AS user, 2L AS shop, TIMESTAMP '2024-01-01 00:05:00' AS event_timestamp"
    return f"SELECT 0L AS row, * FROM ({row})"


@pytest.mark.parametrize("given_as", [as_frame, as_sql])
def test_rows_are_a_frame_or_sql(tmp_path: Path, given_as: Callable[[pa.Table], Any]) -> None:
    view = feature_view(write_rows(tmp_path / "rows.parquet", [one_row(value=7)]), keys=("user",))
    labels = pa.Table.from_pylist([{"row": 0, "user": "a", "shop": 2, "event_timestamp": at(5)}], LABELS)
    job = SparkAsOfOfflineStore.get_historical_features(
        on_spark(tmp_path), [view], ["view:value"], given_as(labels), NO_ON_DEMAND, "p"
    )
    assert job.to_arrow().to_pylist() == [{**labels.to_pylist()[0], "value": 7}]
    assert job.metadata.min_event_timestamp == job.metadata.max_event_timestamp == at(5)
    assert list((tmp_path / "staging").iterdir()) == []


def test_nanoseconds_of_a_label_are_rounded_down(tmp_path: Path) -> None:
    view = feature_view(write_rows(tmp_path / "rows.parquet", [one_row()]), keys=("user",))
    moment = pa.array([at(0)], UTC_US).cast(pa.int64())[0].as_py() * 1000
    labels = pa.table({"user": ["a", "a"], "event_timestamp": pa.array([moment - 1, moment + 1], pa.timestamp("ns"))})
    assert join(SparkAsOfOfflineStore, on_spark(tmp_path), view, labels)["value"].to_pylist() == [None, 1]


@pytest.mark.parametrize("window", [(at(3), at(8)), (None, at(8))])
def test_newest_rows_and_all_rows_of_a_window(tmp_path: Path, rows_and_labels: Any, window: Any) -> None:
    source = write_rows(tmp_path / "rows.parquet", rows_and_labels[0])
    arguments = (source, ["user"], ["value", "tags"], "ts", "created")
    found: dict[str, list[list[str]]] = {"latest": [], "all": []}
    for store, settings in ((AsOfOfflineStore, config(tmp_path)), (SparkAsOfOfflineStore, on_spark(tmp_path))):
        for kind, rows in found.items():
            pull = getattr(store, f"pull_{kind}_from_table_or_query")
            rows.append(sorted(map(repr, pull(settings, *arguments, *window).to_arrow().to_pylist())))
    latest, every = found["latest"], found["all"]
    assert latest[0] == latest[1]
    assert every[0] == every[1]
    assert len(latest[1]) == len(USERS) < len(every[1])


def delta_view(folder: Path, **settings: Any) -> FeatureView:
    source = FileSource(
        name="pinned",
        path="my rows",
        file_format=DeltaFormat(),
        timestamp_field="ts",
        created_timestamp_column="created",
    )
    write_deltalake(str(folder / "my rows"), pa.Table.from_pylist([one_row(value=4)], FEATURES), **settings)
    return feature_view(source, keys=("user",))


def test_a_delta_table_is_read_at_its_pinned_version_without_a_delta_jar(tmp_path: Path) -> None:
    view = delta_view(tmp_path)
    write_deltalake(str(tmp_path / "my rows"), FEATURES.empty_table(), mode="overwrite")
    for versions, expected in (({"pinned": 0}, 4), ({}, None)):
        settings = on_spark(tmp_path, lake_uri=str(tmp_path), versions=versions)
        assert join(SparkAsOfOfflineStore, settings, view, labels_at(1))["value"].to_pylist() == [expected]


def test_a_delta_table_that_is_more_than_its_files_is_refused(tmp_path: Path) -> None:
    view = delta_view(tmp_path, partition_by=["user"])
    with pytest.raises(FeatureStoreError, match=r"partitioned by \['user'\]"):
        join(SparkAsOfOfflineStore, on_spark(tmp_path, lake_uri=str(tmp_path)), view, labels_at(1))


def test_text_and_numbers_are_never_one_key(tmp_path: Path) -> None:
    view = feature_view(write_rows(tmp_path / "rows.parquet", [one_row()]), keys=("shop",))
    labels = pa.table({"shop": ["01"], "event_timestamp": pa.array([at(1)], UTC_US)})
    with pytest.raises(FeatureStoreError, match="'shop' is long in the feature rows and string in the entity rows"):
        join(SparkAsOfOfflineStore, on_spark(tmp_path), view, labels)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = session_conf(SparkConfig(conf={"spark.x": True, "spark.y": 3}), tmp_path)
    assert (conf["spark.x"], conf["spark.y"], conf["spark.master"]) == ("true", "3", "local[*]")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="install Java 17"):
        open_session(conf)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(ConfigError, match=r"-r requirements/spark\.txt"):
        open_session(conf)


@pytest.mark.parametrize(
    ("model", "similarity"),
    [("items", "cosine"), ("items", "pearson"), ("items", "adjusted_cosine"), ("users", "pearson")],
)
def test_neighbours_are_those_that_scipy_finds(tmp_path: Path, model: str, similarity: Similarity) -> None:
    train = ratings(60, 30, 0.3)
    values, used = interaction_values(train, similarity, of_users=model == "users"), train.matrix()
    if model == "items":
        values, used = values.T.tocsr(), used.T.tocsr()
    rows, same = unit_rows(values), np.arange(used.shape[0])
    same[3] = -1  # a stranger is its own double's neighbour
    limits: dict[str, Any] = {"common": (used, used), "num_nearest": 7, "shrinkage": 2.5, "same": same}
    found = SparkNeighbours(SMALL, tmp_path)(rows, rows, **limits)
    expected = nearest(rows, rows, **limits)
    assert found.dtype == expected.dtype
    assert np.diff(found.indptr).max() == 7
    # Positive by rounding alone is no neighbour of anyone.
    np.testing.assert_array_equal((found > 1e-5).sum(axis=1), (expected > 1e-5).sum(axis=1))
    np.testing.assert_allclose(clear(found, 7), clear(expected, 7), atol=1e-6)
    assert (clear(found, 7) > 0).sum() > 3 * len(same)
    assert list(tmp_path.glob("spark-*")) == []


def test_a_model_on_spark_answers_as_one_in_this_process(tmp_path: Path) -> None:
    train = ratings(40, 25, 0.3)
    for name in ("item_neighbours", "user_neighbours"):
        settings = retriever_settings(name, None, {"num_neighbours": 1_000, "similarity": "pearson"})
        models = [retriever_class(name)(settings) for _ in range(2)]
        for model, look in zip(models, (nearest, SparkNeighbours(SMALL, tmp_path)), strict=True):
            model.fit(train, options=RunOptions(seed=1, nearest=look))
        here, spark = (model.score(train) for model in models)
        np.testing.assert_allclose(spark, here, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The spark (offline store|data source API) is:RuntimeWarning")
class TestDifferences:
    """What docs/joins.md says of Feast's own Spark store is so."""

    @staticmethod
    def theirs(folder: Path, view: FeatureView, labels: pa.Table) -> list[Any]:
        from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        files = view.batch_source
        view.batch_source = SparkSource(
            name=files.name,
            path=files.path,
            file_format="parquet",
            timestamp_field=files.timestamp_field,
            created_timestamp_column=files.created_timestamp_column,
        )
        frame = labels.to_pandas()
        frame["event_timestamp"] = frame["event_timestamp"].astype("datetime64[ns, UTC]")
        registry = type("R", (), {"list_entities": lambda *a, **k: [], **vars(NO_ON_DEMAND)})()
        job = SparkOfflineStore.get_historical_features(
            config(folder, "spark"), [view], ["view:value"], frame, registry, "p"
        )
        return sorted(map(str, job.to_df()["value"].tolist()))

    def test_a_label_comes_twice_there_when_rows_tie(self, tmp_path: Path) -> None:
        source = write_rows(tmp_path / "rows.parquet", [one_row(value=1), one_row(value=2)])
        ours = join(SparkAsOfOfflineStore, on_spark(tmp_path), feature_view(source, keys=("user",)), labels_at(1))
        assert ours["value"].to_pylist() == [2]
        assert self.theirs(tmp_path, feature_view(source, keys=("user",)), labels_at(1)) == ["1", "2"]

    def test_keys_that_read_alike_are_mixed_up_there(self, tmp_path: Path) -> None:
        rows = [one_row(user="a1", shop=1, value=1), one_row(user="a", shop=11, value=2)]
        source = write_rows(tmp_path / "rows.parquet", rows)
        labels = pa.Table.from_pylist(label_rows([("a1", 1, 5), ("a", 11, 5)]), LABELS)
        ours = join(SparkAsOfOfflineStore, on_spark(tmp_path), feature_view(source), labels)
        assert ours["value"].to_pylist() == [1, 2]
        assert self.theirs(tmp_path, feature_view(source), labels) == ["1", "1", "2", "2"]
