"""`tandem search`: what it asks for and prints."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main, parser
from pipelines.cli.options import assignment

RATE, LAYERS = "retrieval.learning_rate", "retrieval.hidden_units"
TRIALS: list[dict[str, Any]] = [
    {"trial": 1, "state": "pruned", "value": 0.9, "settings": {RATE: 0.01, LAYERS: [64]}, "cost_wall_seconds": 1.0},
    {
        "trial": 2,
        "state": "complete",
        "value": 0.5,
        "settings": {RATE: 1e-05, LAYERS: [64, 32]},
        "cost_wall_seconds": 2,
    },
    {"trial": 3, "state": "failed", "value": None, "settings": {RATE: 0.1, LAYERS: [64]}, "cost_wall_seconds": 0.1},
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> list[Any]:
    """What was asked for; answers with a search that is done."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "trials.json").write_text(json.dumps(TRIALS))
    calls: list[Any] = []
    search = {"study": "s", "num_trials": 3, "metric": "validation_recall_at_50"}
    settings = TRIALS[1]["settings"]
    result = {**search, "value": 0.5, "settings": settings, "num_ended": {"complete": 1, "failed": 1, "pruned": 1},
              "uri": str(tmp_path), "config": f"{tmp_path}/best.yaml", "run_id": "r1"}  # fmt: skip

    def plan(config: str, training_set: Any, *given: Any) -> Any:
        calls.append(given)
        return search

    def run(config: str, search: Any, told: Any) -> int:
        for trial in TRIALS:
            told({**trial, "error": "the loss is nan" if trial["state"] == "failed" else ""})
        return 3

    monkeypatch.setattr(entrypoints, "receive", lambda *given: {"features": {}})
    monkeypatch.setattr(entrypoints, "build_training_set", lambda *given: {})
    monkeypatch.setattr(entrypoints, "plan_search", plan)
    monkeypatch.setattr(entrypoints, "run_trials", run)
    monkeypatch.setattr(entrypoints, "report_search", lambda config, search: result)
    monkeypatch.setattr(entrypoints, "run_address", lambda config, run_id: f"http://mlflow/runs/{run_id}")
    return calls


def test_the_best_is_first_and_its_command_trains_with_it(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--trials", "3", "--study", "s", "--dataset", "shop", "--set", "retrieval.epochs=2"]
    assert main(["search", "two_tower", *given]) == 0
    assert asked == [(3, "s", None)]
    told = capsys.readouterr()
    assert told.err.splitlines()[1:] == [
        "trial 1 pruned 0.9000",
        "trial 2 complete 0.5000",
        "trial 3 failed the loss is nan",
    ]
    rows = [line.split()[1] for line in told.out.splitlines() if line.startswith("│")]
    assert [row for row in rows if row.isdigit()] == ["2", "1", "3"]
    (line,) = (line for line in told.out.splitlines() if line.startswith("train it: "))
    parsed = parser().parse_args(shlex.split(line.removeprefix("train it: "))[1:])
    assert (parsed.command, parsed.model, parsed.dataset) == ("train", "two_tower", "shop")
    assert dict(map(assignment, parsed.set)) == {"retrieval.epochs": 2, RATE: 1e-05, LAYERS: [64, 32]}
    assert f"tandem train two_tower --config {tmp_path}/best.yaml" in told.out
    assert "MLflow: http://mlflow/runs/r1" in told.out


def test_a_space_is_read_from_files_and_pairs(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("retrieval.dropout: 0.0..0.5\nretrieval.hidden_units: [[64], [32]]\n")
    pair = f"{RATE}=log:1e-4..1e-2"
    assert main(["search", "two_tower", "--space", str(tmp_path / "space.yaml"), "--space", pair, "--json"]) == 0
    space = {"retrieval.dropout": "0.0..0.5", LAYERS: [[64], [32]], RATE: "log:1e-4..1e-2"}
    assert asked == [(20, None, space)]


def test_for_a_program_it_is_json(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "two_tower", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == TRIALS[1]["settings"]
    assert told["command"].startswith("tandem train two_tower --set retrieval.learning_rate=1.0e-05")


@pytest.mark.parametrize(
    ("text", "message"), [("- a", "holds ['a']"), ("a: [", "expected KEY=SPEC or a YAML file"), (None, "No such file")]
)
def test_a_space_that_cannot_be_read_is_one_line(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "space.yaml").write_text(text)
    assert main(["search", "two_tower", "--space", str(tmp_path / "space.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tandem search: --space")
    assert message in line
    assert asked == []
