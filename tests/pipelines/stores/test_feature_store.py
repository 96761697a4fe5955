"""Feast behind one class: joins in order, items at a moment, and what serving reads."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import pyarrow as pa
import pytest
from feast.repo_config import RepoConfig

from pipelines.config import REPOSITORY, Config
from pipelines.contracts import FeatureSet
from pipelines.errors import FeatureStoreError
from pipelines.features.on_demand import taste_match
from pipelines.stores.feast_profile import EMBEDDED_YAML, read_profile
from pipelines.stores.feature_store import FeatureStore
from tests.support.feature_data import AS_OF, DATASET, START, Workspace, event, feature_table, item, random_tables, user

UTC_US = pa.timestamp("us", tz="UTC")
USER_FEATURES = {
    "user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at", "recent_items",
    "taste_categories", "taste_weights", "attributes", "seen_items", "window_known_at", "value_sum", "num_values",
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("store"))
    workspace.fill(random_tables(seed=11))
    workspace.store.apply()
    return workspace


@pytest.fixture(scope="module")
def features(workspace: Workspace) -> FeatureSet:
    features = workspace.compute(workspace.snapshot())
    workspace.store.materialize(features)
    return features


def labels(num: int) -> pa.Table:
    moments = [START + timedelta(days=40 - n) for n in range(num)]
    return pa.table(
        {
            "user_id": [f"u{n % 7}" for n in range(num)],
            "item_id": [f"i{n % 10}" for n in range(num)],
            "event_timestamp": pa.array(moments, UTC_US),
            "carried": list(range(num)),
        }
    )


def test_rows_keep_their_order_and_columns(workspace: Workspace, features: FeatureSet) -> None:
    rows = labels(30)
    joined = workspace.store.historical(rows, "ranking_v1", features=features)
    assert joined.select(rows.column_names).equals(rows)
    assert joined["hour"].to_pylist() == [0] * 30
    backwards = workspace.store.historical(rows.take(list(range(30))[::-1]), "ranking_v1", features=features)
    assert backwards.take(list(range(30))[::-1]).equals(joined)


def test_a_request_may_come_later_than_the_moment_of_its_features(workspace: Workspace, features: FeatureSet) -> None:
    rows = labels(1)
    later = pa.array([rows["event_timestamp"][0].as_py() + timedelta(hours=5)], UTC_US)
    joined = workspace.store.historical(rows.append_column("request_timestamp", later), "ranking_v1", features=features)
    assert joined["hour"].to_pylist() == [5]


def test_candidates_get_item_features_of_their_querys_moment(workspace: Workspace, features: FeatureSet) -> None:
    store, rows = workspace.store, labels(20)
    queries = store.historical(rows, "ranking_v1", features=features)
    pairs = queries.select(["user_id", "event_timestamp", "taste_categories", "taste_weights"])
    pairs = pairs.append_column("item_id", pa.array([f"i{(n + 3) % 10}" for n in range(20)]))
    joined = store.join_candidates(pairs, features=features)
    again = store.historical(pairs.select(["user_id", "item_id", "event_timestamp"]), "ranking_v1", features=features)
    for name in ("item_num_events_7d", "item_mean_value", "title", "categories", "taste_match"):
        assert joined[name].to_pylist() == again[name].to_pylist()


def test_items_at_a_moment(workspace: Workspace, features: FeatureSet) -> None:
    renamed = START + timedelta(days=9)
    before = workspace.store.items_at(renamed - timedelta(microseconds=1), features=features)
    after = workspace.store.items_at(renamed, features=features)
    assert before["item_id"].to_pylist() == sorted(f"i{n}" for n in range(10))
    assert "Renamed" not in before["title"].to_pylist()
    assert after["title"].to_pylist()[:2] == ["Renamed", "Renamed"]
    assert "event_timestamp" not in after.column_names
    nothing = workspace.store.items_at(START - timedelta(days=30), features=features)
    assert (nothing.num_rows, nothing.schema.names) == (0, after.schema.names)


def test_online_features_equal_offline_ones(workspace: Workspace, features: FeatureSet) -> None:
    store = workspace.store
    for name in [f"u{n}" for n in range(6)]:
        rows = pa.table({"user_id": [name], "event_timestamp": pa.array([AS_OF], UTC_US)})
        (offline,) = store.historical(rows, "serving_user_v2", features=features).to_pylist()
        online = store.online_user(name)
        assert online.keys() == USER_FEATURES
        assert online == {feature: offline[feature] for feature in USER_FEATURES}


def test_feasts_own_reader_reads_the_same(workspace: Workspace, features: FeatureSet) -> None:
    values = {
        "TANDEM_FEAST_PROJECT": DATASET,
        "TANDEM_FEAST_HOME": str(workspace.home / "feast"),
        "TANDEM_LAKE_URI": "",
    }
    settings = read_profile(EMBEDDED_YAML, values)
    settings["online_store"] = {"type": "sqlite", "path": str(workspace.home / "feast" / "online.db")}
    store = feast.FeatureStore(config=RepoConfig(**settings))
    names = ["user_history:recent_items", "user_activity:user_num_events", "user_activity:last_known_at"]
    read = store.get_online_features(features=names, entity_rows=[{"user_id": "u1"}, {"user_id": "nobody"}]).to_dict()
    ours = workspace.store.online_user("u1")
    assert read["recent_items"] == [ours["recent_items"], None]
    assert read["user_num_events"] == [ours["user_num_events"], None]
    assert read["last_known_at"][0] == ours["last_known_at"]


def test_on_demand_features_through_feasts_online_reader(workspace: Workspace, features: FeatureSet) -> None:
    store = workspace.store._open({})
    request = {"user_id": "u1", "item_id": "i1", "request_timestamp": datetime(2024, 3, 11, 7, tzinfo=UTC)}
    read = store.get_online_features(store.get_feature_service("ranking_v1"), entity_rows=[request]).to_dict()
    online, (content,) = workspace.store.online_user("u1"), feature_table(workspace, features, "item_content")[3:4]
    match = taste_match(
        pa.array([online["taste_categories"]]), pa.array([online["taste_weights"]]), pa.array([content["categories"]])
    )
    assert read["hour"] == [7]
    assert content["item_id"] == "i1"
    assert read["taste_match"] == pytest.approx(match.tolist())


def test_an_unknown_user_has_nothing(workspace: Workspace, features: FeatureSet) -> None:
    assert workspace.store.online_user("nobody") == dict.fromkeys(USER_FEATURES)


def test_before_anything_is_applied_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FeatureStoreError, match="tandem materialize-online"):
        FeatureStore(home=tmp_path, dataset="empty").online_user("u1")


def test_errors_say_what_is_wrong(workspace: Workspace, features: FeatureSet) -> None:
    store = workspace.store
    with pytest.raises(FeatureStoreError, match="lack join keys"):
        store.historical(labels(2).drop_columns(["item_id"]), "ranking_v1", features=features)
    with pytest.raises(FeatureStoreError, match="nothing_v9"):
        store.historical(labels(2), "nothing_v9", features=features)
    clash = labels(2).append_column("title", pa.array(["x", "y"]))
    with pytest.raises(FeatureStoreError, match=r"already have its features \['title'\]"):
        store.historical(clash, "ranking_v1", features=features)
    gone = features.model_copy(update={"versions": features.versions | {"item_content": 99}})
    with pytest.raises(FeatureStoreError, match="tandem compute-features"):
        store.items_at(AS_OF, features=gone)


def test_applying_twice_changes_nothing(tmp_path: Path) -> None:
    store = Workspace(tmp_path).store
    store.apply()
    registry = store._open({}).registry
    first = [view.last_updated_timestamp for view in registry.list_feature_views("tiny")]
    Workspace(tmp_path).store.apply()
    again = Workspace(tmp_path).store._open({}).registry.list_feature_views("tiny")
    assert [view.last_updated_timestamp for view in again] == first
    assert len(again) == 9


def test_a_configuration_names_the_store(tmp_path: Path) -> None:
    config = Config.model_validate({"home": tmp_path, "dataset": "my-data", "services": {"lake_uri": "s3://lake"}})
    store = FeatureStore.from_config(config)
    assert store.project == "my_data"
    assert store._lake_uri == "s3://lake/my-data"


OUTSIDE = """
import sys
from pathlib import Path
from tests.support.feature_data import Workspace, random_tables
workspace = Workspace(Path(sys.argv[1]) / "home")
snapshot = workspace.fill(random_tables(1, 60))
workspace.store.apply()
features = workspace.compute(snapshot)
workspace.store.materialize(features)
workspace.store.online_user("u1")
print("done")
"""


def test_nothing_is_written_outside_home(tmp_path: Path) -> None:
    somewhere = tmp_path / "user"
    somewhere.mkdir()
    environment = {
        "HOME": str(somewhere),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(somewhere),
    }
    result = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(tmp_path)],
        cwd=somewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # Feast's progress would break the JSON that a step prints.
    assert result.stdout == "done\n"
    assert list(somewhere.iterdir()) == []


def test_an_item_without_content_is_not_an_item(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tables = {"events": [event(1, "u", "unlisted", START)], "items": [item("i", None)], "users": [user("u", [])]}
    features = workspace.compute(workspace.fill(tables))
    workspace.declare()
    assert workspace.store.items_at(AS_OF, features=features)["item_id"].to_pylist() == ["i"]
