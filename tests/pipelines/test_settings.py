"""One configuration, from four places, every mistake named."""

from pathlib import Path

import pytest

from pipelines.config import DEFAULT_HOME
from pipelines.errors import ConfigError
from pipelines.settings import load_config, source_overrides


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_defaults() -> None:
    config = load_config()
    assert config.home == DEFAULT_HOME
    assert config.dataset == "synthetic"
    assert (config.ports.airflow, config.ports.mlflow, config.ports.serving) == (8080, 5000, 8000)
    assert config.mlflow_uri == "http://127.0.0.1:5000"
    assert config.serving_url == "http://127.0.0.1:8000"


def test_each_place_overrules_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "c.yaml", "seed: 1\nretrieval: {epochs: 2, batch_size: 64}\n")
    assert load_config(file).retrieval.epochs == 2
    monkeypatch.setenv("TANDEM_RETRIEVAL__EPOCHS", "3")
    assert load_config(file).retrieval.epochs == 3
    config = load_config(file, {"retrieval.epochs": 4, "seed": None})
    assert (config.retrieval.epochs, config.retrieval.batch_size, config.seed) == (4, 64, 1)


def test_home_and_dataset_have_variables_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    monkeypatch.setenv("TANDEM_DATASET", "shop")
    config = load_config()
    assert config.home == tmp_path
    assert config.lake_uri == f"{tmp_path}/lake/shop"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"retrieval.epoch": 3}, "retrieval.epoch"),
        ({"retrievals.epochs": 3}, "retrievals"),
        ({"retrieval.epochs": 0}, "retrieval.epochs"),
        ({"retrieval.epochs": "many"}, "many"),
        ({"dataset": "My Shop"}, "dataset"),
        ({"seed.value": 3}, "seed"),
    ],
)
def test_a_wrong_key_or_value_is_named(overrides: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(None, overrides)


@pytest.mark.parametrize(("text", "named"), [("seed: [", "not YAML"), ("- 1", "expected sections")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(write(tmp_path / "c.yaml", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "c.yaml")


def test_serving_settings_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_SERVING__PORT", "9")
    load_config()


@pytest.mark.parametrize("name", ["synthetic", "movielens-100k", "movielens-32m"])
def test_a_source_by_its_short_name(name: str) -> None:
    config = load_config(None, source_overrides(name))
    assert config.dataset == name
    assert config.source.kind == name.split("-")[0]


def test_a_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, source_overrides("csv", "data", "map.yaml"))
    assert config.source.path == tmp_path / "data"
    assert config.source.mapping == tmp_path / "map.yaml"


@pytest.mark.parametrize("name", ["netflix", "movielens", "movielens-2m", ""])
def test_an_unknown_source_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="movielens-1m"):
        source_overrides(name)


def test_the_engine_has_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().features.engine == "duckdb"
    monkeypatch.setenv("TANDEM_ENGINE", "spark")
    monkeypatch.setenv("TANDEM_FEATURES__SPARK__CONF", "{spark.executor.memory: 8g, spark.executor.cores: 4}")
    features = load_config().features
    assert (features.engine, features.spark.master) == ("spark", "local[*]")
    assert features.spark.conf == {"spark.executor.memory": "8g", "spark.executor.cores": 4}
    monkeypatch.setenv("TANDEM_ENGINE", "polars")
    with pytest.raises(ConfigError, match=r"features\.engine"):
        load_config()


def test_a_cluster_needs_a_folder_that_it_shares() -> None:
    with pytest.raises(ConfigError, match=r"features\.spark: .*expected staging_uri"):
        load_config(None, {"features.spark.master": "yarn"})
    shared = {"features.spark.master": "yarn", "features.spark.staging_uri": "s3://bucket/staging"}
    assert load_config(None, shared).features.spark.master == "yarn"
