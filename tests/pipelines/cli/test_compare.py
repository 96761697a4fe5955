"""`tandem compare`: what it asks for and prints."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main

DIFFERENCE = {"difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.0001, "p_holm": 0.0001, "num_users": 7}
REPORT = {
    "dataset": "synthetic",
    "metric": "ndcg_at_10",
    "reference": "retrieval/3 ease",
    "num_users": 7,
    "values": {"retrieval/3 ease": 0.3, "popularity": 0.2},
    "intervals": {"retrieval/3 ease": {"ndcg_at_10": [0.2, 0.4]}, "popularity": {"ndcg_at_10": [0.1, 0.3]}},
    "differences": {"popularity": DIFFERENCE},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> list[Any]:
    """What was asked for; answers with a written report."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    calls: list[Any] = []

    def compare_models(config: str, *given: Any) -> Any:
        calls.append(given)
        return {"uri": str(tmp_path), "run_id": "r1"}

    monkeypatch.setattr(entrypoints, "compare_models", compare_models)
    monkeypatch.setattr(entrypoints, "run_address", lambda config, run_id: f"http://mlflow/runs/{run_id}")
    return calls


def test_a_line_for_each_model_and_where_the_page_is(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "3", "ranking/1", "--reference", "3", "--metric", "ndcg_at_10"]) == 0
    assert asked == [(["3", "ranking/1"], "ndcg_at_10", "3")]
    printed = " ".join(capsys.readouterr().out.split())
    assert "popularity" in printed
    assert "+0.1000" in printed
    assert f"page: {tmp_path}/report.html" in printed
    assert "MLflow: http://mlflow/runs/r1" in printed


def test_for_a_program_it_is_json(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--json"]) == 0
    assert asked == [([], None, None)]
    told = json.loads(capsys.readouterr().out)
    assert told["report"]["reference"] == "retrieval/3 ease"
    assert told["run_id"] == "r1"
