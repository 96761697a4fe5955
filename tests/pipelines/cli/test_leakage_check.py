"""`tandem leakage-check`: what it checks, what it prints, how it ends."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main

CLEAN = {
    "dataset": "synthetic",
    "snapshot_id": "s",
    "training_set": "f" * 64,
    "retrieval_version": "3",
    "uri": "/runs/x",
    "checks": [{"name": "split_by_time", "question": "?", "num_checked": 5000}],
}
FINDING = {"feature": "mood", "problem": "saw the future", "example": "event e1"}
LEAKING = CLEAN | {"checks": [{**CLEAN["checks"][0], "findings": [FINDING]}]}  # type: ignore[dict-item]  # values of any kind


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was checked; answers with the report in its first place, if any."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    calls: list[Any] = []

    def report_leakage(config: str, training_set: Any, retrieval: Any) -> Any:
        report = calls.pop() if calls else CLEAN
        calls.append((training_set, retrieval))
        from pipelines.contracts import LeakageReport

        return LeakageReport(**report).model_dump(mode="json")

    monkeypatch.setattr(entrypoints, "report_leakage", report_leakage)
    return calls


def test_what_was_trained_last_is_checked(home: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    config = entrypoints.resolve_config()["config"]
    evaluation = {"training_set": {"uri": "t"}, "retrieval": {"version": "3"}}
    entrypoints.publish("models", {"config": config, "evaluation": evaluation}, "run")
    assert main(["leakage-check"]) == 0
    assert asked == [({"uri": "t"}, {"version": "3"})]
    printed = capsys.readouterr().out
    assert "split by time" in printed
    assert "clean" in printed
    assert "report: /runs/x/report.html" in printed


def test_a_leak_ends_with_one_line_and_1(
    home: Path, asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.append(LEAKING)
    file = tmp_path / "set.json"
    file.write_text('{"uri": "t"}')
    assert main(["leakage-check", "--training-set", str(file), "--json"]) == 1
    assert asked == [({"uri": "t"}, None)]
    captured = capsys.readouterr()
    assert json.loads(captured.out)["checks"][0]["findings"] == [FINDING]
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("tandem leakage-check: split_by_time: mood: saw the future; for example event e1")


def test_a_ranking_model_is_checked_where_one_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    checked = []
    monkeypatch.setattr(entrypoints, "report_ranking_leakage", lambda _, *given: checked.append(given) or LEAKING)
    for name in ("pairs", "model"):
        (tmp_path / name).write_text(json.dumps({"is": name}))
    files = ["--ranking-set", str(tmp_path / "pairs"), "--ranking", str(tmp_path / "model")]
    assert main(["leakage-check", *files]) == 1
    assert checked == [({"is": "pairs"}, {"is": "model"})]
    assert "saw the future" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--retrieval", "x"], "needs --training-set"),
        (["--training-set", "/nowhere.json"], "not JSON of a step"),
        (["--ranking", "x"], "--ranking-set and --ranking belong together"),
        ([], "no models of dataset 'synthetic' were published yet"),
    ],
)
def test_wrong_calls_are_explained(
    home: Path, asked: list[Any], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leakage-check", *arguments]) == 2
    assert message in capsys.readouterr().err
