"""`tandem training-set` and `tandem compact-lake`."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_a_moment_is_rebuilt_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(entrypoints, "rebuild_training_set", lambda *a: asked.append(a[1:]) or {"fingerprint": "f"})
    out = str(tmp_path / "again")
    assert main(["training-set", "--as-of", "2024-03-10T12:00:00Z", "--fingerprint", "ab", "--out", out]) == 0
    assert asked == [("2024-03-10T12:00:00Z", "ab", out)]
    assert json.loads(capsys.readouterr().out) == {"fingerprint": "f"}


def test_where_to_write_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training-set", "--as-of", "2024-03-10T12:00:00Z"]) == 2
    assert "needs --out FOLDER" in capsys.readouterr().err


def test_without_a_moment_all_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training-set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    one = {
        "features": {"snapshot": {"as_of": "2024-03-10T12:00:00Z"}},
        "fingerprint": "0123456789abcdef",
        "num_rows": {"train": 7, "validation": 1, "test": 2},
        "feature_service": "ranking_v1",
    }
    monkeypatch.setattr(entrypoints, "list_training_sets", lambda config: [one])
    assert main(["training-set"]) == 0
    assert "0123456789ab " in capsys.readouterr().out


def test_compacting_an_empty_lake_removes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact-lake"]) == 0
    assert json.loads(capsys.readouterr().out) == {}
