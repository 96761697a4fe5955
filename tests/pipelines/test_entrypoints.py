"""Entrypoints: JSON in, JSON out, quick to import."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError

HEAVY = [
    "tensorflow",
    "keras",
    "feast",
    "mlflow",
    "great_expectations",
    "pandas",
    "numpy",
    "pyarrow",
    "duckdb",
    "airflow",
]


@pytest.mark.parametrize("module", ["pipelines.entrypoints", "pipelines.__main__", "pipelines.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_configuration_is_resolved_once_and_addressed_by_its_content(home: Path) -> None:
    first = entrypoints.resolve_config(None, {"seed": 11})
    assert entrypoints.resolve_config(None, {"seed": 11}) == first
    assert entrypoints.resolve_config(None, {"seed": 12}) != first
    config = entrypoints.read_config(first["config"])
    assert config.seed == 11
    assert config.home == home
    assert first["dataset"] == config.dataset == "synthetic"


def test_a_resolved_configuration_can_be_resolved_again(home: Path) -> None:
    first = entrypoints.resolve_config(None, {"seed": 11})
    assert entrypoints.resolve_config(first["config"], {})["config"] == first["config"]


def test_a_configuration_that_is_gone_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="first task"):
        entrypoints.read_config(str(tmp_path / "config.json"))


def test_a_configuration_of_another_version_says_what_to_do(home: Path) -> None:
    uri = Path(entrypoints.resolve_config()["config"])
    uri.write_text(json.dumps(json.loads(uri.read_text()) | {"retired": 1}))
    with pytest.raises(ConfigError, match="start the DAG anew"):
        entrypoints.read_config(str(uri))


def test_parameters_of_the_trigger_form(home: Path, tmp_path: Path) -> None:
    params: dict[str, Any] = {
        "source": "movielens-1m", "data": str(tmp_path), "mapping": None, "config": None, "dataset": None, "seed": 5,
        "settings": {"retrieval.epochs": 2}, "partition": "all", "as_of": None,
    }  # fmt: skip
    config = entrypoints.read_config(entrypoints.resolve_params(params)["config"])
    assert (config.source.kind, config.source.size, config.source.path) == ("movielens", "1m", tmp_path)
    assert (config.dataset, config.seed, config.retrieval.epochs) == ("movielens-1m", 5, 2)


def test_empty_parameters_mean_the_configuration(home: Path) -> None:
    assert entrypoints.resolve_params({"settings": None}) == entrypoints.resolve_config()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"data": "/x"}, "belongs to a source"),
        ({"source": "netflix"}, "netflix"),
        ({"source": "csv"}, "needs a folder"),
        ({"settings": {"retrieval.epoch": 2}}, "retrieval.epoch"),
    ],
)
def test_wrong_parameters_are_named(home: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        entrypoints.resolve_params(params)


def test_logs_of_tasks_that_are_not_here_are_named(home: Path, tmp_path: Path) -> None:
    config = entrypoints.resolve_config(None, {"services.task_logs": str(tmp_path / "none")})["config"]
    with pytest.raises(ConfigError, match=r"services\.task_logs is .*none, and there is no such folder"):
        entrypoints.find_user(config, "u1")


def test_as_of() -> None:
    assert entrypoints.parse_as_of("") is None
    assert entrypoints.parse_as_of("2025-01-02T00:00:00Z") == datetime(2025, 1, 2, tzinfo=UTC)
    with pytest.raises(ConfigError, match="is not a moment"):
        entrypoints.parse_as_of("yesterday")
    with pytest.raises(ConfigError, match="no time zone"):
        entrypoints.parse_as_of("2025-01-02T00:00:00")


class TestHandover:
    def refs(self, **values: Any) -> dict[str, Any]:
        return {"config": entrypoints.resolve_config()["config"], "ingested": {"versions": {"events": 1}, **values}}

    def test_nothing_published_says_what_to_trigger(self, home: Path) -> None:
        with pytest.raises(ConfigError, match="Trigger recommender_pipeline"):
            entrypoints.receive("events", None, {})
        assert entrypoints.last_published("events") is None

    def test_what_was_published_last_is_received(self, home: Path) -> None:
        refs = self.refs()
        assert entrypoints.publish("events", refs, "run-1") == {"changed": True}
        assert entrypoints.receive("events", None, {}) == refs | {"served": False}
        assert entrypoints.receive("events", None, {"dataset": "synthetic"}) == refs | {"served": False}
        with pytest.raises(ConfigError, match="'shop'"):
            entrypoints.receive("events", None, {"dataset": "shop"})

    def test_an_assets_event_goes_before_what_was_published_last(self, home: Path) -> None:
        entrypoints.publish("events", self.refs(), "run-1")
        given = self.refs(other=1)
        assert entrypoints.receive("events", given, {}) == given | {"served": False}

    def test_the_same_again_is_no_news_however_many_rows_it_added(self, home: Path) -> None:
        entrypoints.publish("events", self.refs(num_appended={"events": 5}), "run-1")
        again = self.refs(num_appended={"events": 0})
        assert entrypoints.publish("events", again, "run-2") == {"changed": False}

    def test_a_retried_run_gets_the_answer_it_got_before(self, home: Path) -> None:
        assert entrypoints.publish("events", self.refs(), "run-1") == {"changed": True}
        assert entrypoints.publish("events", self.refs(), "run-1") == {"changed": True}

    def test_settings_apply_from_here_on(self, home: Path) -> None:
        entrypoints.publish("events", self.refs(), "run-1")
        given = entrypoints.receive("events", None, {"settings": {"retrieval.epochs": 9}})
        assert entrypoints.read_config(given["config"]).retrieval.epochs == 9
        assert given["ingested"] == {"versions": {"events": 1}}

    def test_published_files_are_json(self, home: Path) -> None:
        entrypoints.publish("events", self.refs(), "run-1")
        files = sorted((home / "runs").rglob("published/events.json"))
        assert len(files) == 2
        assert all(json.loads(file.read_text())["run"] == "run-1" for file in files)
