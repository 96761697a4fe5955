"""The command line: subcommands, references through pipes, errors in one line."""

import argparse
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines import entrypoints
from pipelines.cli.main import main, parser
from pipelines.cli.options import parameters, platform_config
from pipelines.cli.run import run_conf
from pipelines.cli.steps import STEPS
from pipelines.errors import ConfigError
from pipelines.platform.processes import Record


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step changes its process's environment; the next test must not see that."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_there_is_a_command_for_each_step_and_for_the_platform() -> None:
    steps = {name.replace("_", "-") for name in STEPS}
    assert set(commands()) == steps | {
        *("up", "run", "stop", "status", "recommend", "reproduce", "search", "explain", "rollback"),
        *(
            "ingest-events",
            "drain-events",
            "materialize-features",
            "train-models",
            "train",
            "leakage-check",
            "check-parity",
            "training-set",
            "models",
            "bitemporal-report",
            "compact-lake",
            "check-features",
            "feature-catalogue",
            "forget-user",
            "find-user",
            "compare",
            "search",
        ),
    }


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_is_there_for_each(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"tandem {name}" in capsys.readouterr().out


def test_models_are_listed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "popularity" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert listed["popularity"]["family"] == "baseline"
    assert listed["popularity"]["settings"]["window_days"] is None
    kinds = {name: listed[name]["kind"] for name in ("popularity", "multi_task", "list_mle")}
    assert kinds == {"popularity": "retrieval", "multi_task": "ranking", "list_mle": "ranking loss"}
    assert listed["multi_task"]["settings"]["num_experts"] == 4


def test_train_chooses_the_model_over_every_other_setting() -> None:
    parsed = parser().parse_args(["train", "ease", "--preset", "quality", "--set", "retrieval.settings={l2: 5}"])
    given = parameters(parsed)
    assert given == {"model": "ease", "settings": {"retrieval.settings": {"l2": 5}, "retrieval.preset": "quality"}}
    assert parsed.chain is parser().parse_args(["train-models"]).chain


def test_train_chooses_the_ranker_and_what_it_learns_by() -> None:
    parsed = parser().parse_args(["train", "ease", "--ranker", "deep", "--ranking-loss", "softmax"])
    assert parameters(parsed) == {"model": "ease", "ranker": "deep", "ranking_loss": "softmax", "settings": {}}


def test_devices_and_precision_of_training_reach_the_configuration_of_the_run(home: Path) -> None:
    parsed = parser().parse_args(
        ["train", "hstu", "--device", "cpu", "--devices", "2", "--precision", "mixed_bfloat16"]
    )
    run = entrypoints.read_config(entrypoints.resolve_params(parameters(parsed))["config"]).training
    assert (run.device, run.num_devices, run.precision) == ("cpu", 2, "mixed_bfloat16")


def test_a_chosen_ranker_reaches_the_configuration_of_the_run(home: Path) -> None:
    params = {"ranker": "multi_task", "ranking_loss": "softmax", "settings": {"ranking.settings": {"num_experts": 2}}}
    ranking = entrypoints.read_config(entrypoints.resolve_params(params)["config"]).ranking
    assert (ranking.model, ranking.loss, ranking.settings) == ("multi_task", "softmax", {"num_experts": 2})
    unchanged = entrypoints.read_config(entrypoints.resolve_params({"ranker": None})["config"]).ranking
    assert (unchanged.model, unchanged.loss) == ("cross", "logistic")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranking.model": "unheard"}, "ranking.model 'unheard' is unknown"),
        ({"ranking.loss": "unheard"}, "ranking.loss 'unheard' is unknown"),
        ({"ranking.settings": {"num_experts": 2}}, "do not fit model 'cross': num_experts"),
    ],
)
def test_a_misspelt_ranker_is_refused_before_retrieval_is_trained(
    home: Path, settings: dict[str, Any], message: str
) -> None:
    config = entrypoints.resolve_params({"settings": settings})["config"]
    with pytest.raises(ConfigError, match=message):
        entrypoints.train_retrieval(config, {})


def test_a_chosen_model_reaches_the_configuration_of_the_run(home: Path) -> None:
    config = entrypoints.read_config(entrypoints.resolve_params({"model": "ease"})["config"])
    assert config.retrieval.model == "ease"
    assert entrypoints.read_config(entrypoints.resolve_params({"model": None})["config"]).retrieval.model == "two_tower"


def test_a_step_reads_a_reference_and_prints_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def compute_features(config: str, snapshot: dict[str, Any]) -> dict[str, Any]:
        """Stand in."""
        asked.append((config, snapshot))
        return {"answer": 1}

    monkeypatch.setattr(entrypoints, "compute_features", compute_features)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"snapshot_id": "x"}'))
    assert main(["compute-features", "--seed", "3", "--set", "features.threads=1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"answer": 1}
    ((config, snapshot),) = asked
    assert snapshot == {"snapshot_id": "x"}
    resolved = entrypoints.read_config(config)
    assert (resolved.seed, resolved.features.threads) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["compute-features"], "", "is not JSON"),
        (["compute-features"], "[1]", "expected one JSON object"),
        (["compute-features", "--snapshot", "/nowhere.json"], "", "does not exist"),
        (["take-snapshot", "--source", "netflix"], "", "netflix"),
        (["take-snapshot", "--set", "epochs"], "", "KEY=VALUE"),
        (["take-snapshot", "--as-of", "yesterday"], "", "is not a moment"),
        (["read-partition", "--data", "/x"], "", "belongs to a source"),
        (["up", "--config", "/nowhere.yaml"], "", "does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], stdin: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"tandem {arguments[0]}: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_chain_hands_its_references_on_and_publishes_the_last(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    for name in ("read_partition", "validate_partition", "append_partition"):

        def step(config: str, /, _name: str = name, **references: Any) -> dict[str, Any]:
            asked.append((_name, references))
            return {"of": _name}

        monkeypatch.setattr(entrypoints, name, step)
    assert main(["ingest-events", "--dataset", "shop", "--partition", "2025-01-01/2025-01-02"]) == 0
    assert asked == [
        ("read_partition", {"partition": "2025-01-01/2025-01-02"}),
        ("validate_partition", {"raw": {"of": "read_partition"}}),
        ("append_partition", {"validated": {"of": "validate_partition"}}),
    ]
    assert json.loads(capsys.readouterr().out) == {"of": "append_partition"}
    assert entrypoints.receive("events", None, {"dataset": "shop"})["ingested"] == {"of": "append_partition"}


def test_two_references_must_be_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["assemble-release"])
    assert "--evaluation" in capsys.readouterr().err


def test_serving_that_is_not_there_is_not_the_callers_fault(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: Any
) -> None:
    monkeypatch.setenv("TANDEM_PORTS__SERVING", str(free_port()))
    assert main(["recommend", "u1"]) == 1
    assert capsys.readouterr().err.startswith("tandem recommend: ")


def test_stop_with_nothing_running(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop"]) == 0
    assert capsys.readouterr().out == "nothing was running\n"
    assert not home.exists()


def test_settings_of_the_shell_become_parameters_of_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler was started from another shell: it must not have to see this one's variables."""
    monkeypatch.setenv("TANDEM_RETRIEVAL__EPOCHS", "2")
    monkeypatch.setenv("TANDEM_PORTS__MLFLOW", "5001")
    monkeypatch.setenv("TANDEM_DATASET", "shop")
    parsed = parser().parse_args(["run", "--set", "ranking.epochs=1", "--seed", "4"])
    assert run_conf(parsed) == {
        "dataset": "shop",
        "seed": 4,
        "partition": "all",
        "settings": {"retrieval.epochs": 2, "ranking.epochs": 1},
    }


def test_a_running_platform_is_found_at_its_ports_from_any_shell(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = psutil.Process().create_time()
    (home / "run").mkdir(parents=True)
    Record(os.getpid(), started, "digest", 15_000, "mlflow").save(home / "run" / "mlflow.json")
    Record(os.getpid(), started - 1, "digest", 18_000, "serving").save(home / "run" / "serving.json")
    parsed = argparse.Namespace(config=None)
    config = platform_config(parsed)
    assert (config.ports.mlflow, config.ports.serving) == (15_000, 8000)  # serving's process ended
    monkeypatch.setenv("TANDEM_PORTS__MLFLOW", "5999")
    assert platform_config(parsed).ports.mlflow == 5999
