"""Declarations and tables say the same, and each profile is one yaml."""

from pathlib import Path

import pyarrow as pa
import pytest
from feast.repo_config import RepoConfig
from feast.types import Array, Float32, Int64, String, UnixTimestamp

from feature_repo import feature_views, services
from feature_repo.repository import declarations
from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError
from pipelines.features.schemas import FEATURE_TABLES, STRINGS, TIMESTAMP
from pipelines.stores.feast_profile import EMBEDDED_YAML, read_profile

ARROW_TYPES = {
    Int64: pa.int64(),
    Float32: pa.float32(),
    String: pa.string(),
    UnixTimestamp: TIMESTAMP,
    Array(String): STRINGS,
    Array(Float32): pa.list_(pa.float32()),
    Array(Int64): pa.list_(pa.int64()),
}
FOLDER = {
    "TANDEM_FEAST_PROJECT": "p",
    "TANDEM_FEAST_HOME": "/somewhere/with space #1",
    "TANDEM_LAKE_URI": "s3://lake/p",
}


@pytest.mark.parametrize("name", FEATURE_TABLES)
def test_a_view_declares_the_columns_of_its_table(name: str) -> None:
    view, table = getattr(feature_views, name), FEATURE_TABLES[name]
    assert {field.name: ARROW_TYPES[field.dtype] for field in view.features} == table.features
    assert [column.name for column in view.entity_columns] == [table.entity]
    assert view.batch_source.path == table.lake_table
    assert view.batch_source.name == name
    assert view.description


def test_feature_names_are_unique() -> None:
    declared = [item for item in declarations() if type(item).__name__ in ("FeatureView", "OnDemandFeatureView")]
    names = [field.name for view in declared for field in view.features]
    assert len(names) == len(set(names))
    assert len(declared) == len(FEATURE_TABLES) + 3


def test_services_hold_what_their_callers_read() -> None:
    views = {
        s.name: {p.name for p in s.feature_view_projections}
        for s in vars(services).values()
        if hasattr(s, "feature_view_projections")
    }
    assert set(views) >= {"retrieval_v1", "ranking_v1", "serving_user_v1", "item_v1"}
    assert views["ranking_v1"] - views["retrieval_v1"] == {"item_quality", "taste_match"}
    assert views["item_v1"] == {"item_content", "item_popularity", "item_quality"}
    # The snapshot's state has one row a user: joined to history it would be the future.
    assert "user_seen" not in views["ranking_v1"]
    assert "user_seen" in views["serving_user_v1"]
    assert views["serving_user_v2"] - views["serving_user_v1"] == {"user_window"}


def test_the_embedded_profile_stays_below_home() -> None:
    settings = read_profile(EMBEDDED_YAML, FOLDER)
    config = RepoConfig(**settings)
    assert config.registry.path == "sqlite:////somewhere/with space #1/registry.db"
    assert config.online_store.path == "/somewhere/with space #1/online.db"
    assert config.offline_store.lake_uri == "s3://lake/p"


def test_the_services_profile_is_one_other_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("FEAST_REGISTRY_URL", "postgresql+psycopg://feast:pa$$word@db:5432/feast")
    monkeypatch.setenv("FEAST_REDIS", "cache:6379,password=a: b")
    config = RepoConfig(**read_profile(REPOSITORY / "feature_repo/feature_store.services.yaml", FOLDER))
    assert config.registry.path == "postgresql+psycopg://feast:pa$$word@db:5432/feast"
    assert config.online_store.connection_string == "cache:6379,password=a: b"


def test_a_missing_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEAST_REDIS", raising=False)
    monkeypatch.setenv("FEAST_REGISTRY_URL", "x")
    with pytest.raises(ConfigError, match="FEAST_REDIS"):
        read_profile(REPOSITORY / "feature_repo/feature_store.services.yaml", FOLDER)
    with pytest.raises(ConfigError, match="does not exist"):
        read_profile(tmp_path / "none.yaml", {})
