"""`tandem feature-catalogue`: of the features computed last, a line each, and where the page is."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main

ENTRY = {
    "name": "user_num_events",
    "kind": "int64",
    "view": "user_activity",
    "owner": "platform",
    "meaning": "events so far",
    "models": [
        {"model": "retrieval", "version": "2", "champion": False},
        {"model": "ranking", "version": "1", "champion": True},
    ],
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The features whose catalogue was written."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "catalogue.json").write_text(json.dumps([ENTRY]))
    calls: list[Any] = []

    def feature_catalogue(config: str, features: Any) -> Any:
        calls.append(features)
        return {"uri": str(tmp_path), "page": "/runs/synthetic/feature_catalogue/report.html"}

    monkeypatch.setattr(entrypoints, "feature_catalogue", feature_catalogue)
    return calls


@pytest.fixture
def published(home: Path) -> Any:
    features = {"versions": {"user_activity": 3}}
    config = entrypoints.resolve_config()["config"]
    entrypoints.publish("features", {"config": config, "features": features}, "run")
    return features


def test_a_line_a_feature_and_the_page(asked: list[Any], published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feature-catalogue"]) == 0
    assert asked == [published]
    printed = capsys.readouterr().out
    assert "user_num_events" in printed
    assert "ranking" in printed
    assert "retrieval" not in printed, "only what the champion consists of"
    assert "page: /runs/synthetic/feature_catalogue/report.html" in printed


def test_for_programs(asked: list[Any], published: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feature-catalogue", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == [ENTRY]


def test_without_features_it_says_what_to_run(home: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feature-catalogue"]) == 2
    assert "no features of dataset 'synthetic' were published yet" in capsys.readouterr().err
