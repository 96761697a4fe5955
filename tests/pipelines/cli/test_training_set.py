"""`tandem training-set` and `tandem compact-lake`."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import entrypoints
from pipelines.cli.main import main
from pipelines.stores.artifacts import folder_files
from tests.support.feature_data import AS_OF, DATASET, Workspace
from tests.support.leakage import Built
from tests.support.memory_registry import MemoryRegistry


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


def test_when_a_user_was_forgotten_the_past_is_refused_and_the_present_can_be_built_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path, clean: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clean.workspace.home, home)
    registry = MemoryRegistry(tmp_path / "registry")
    monkeypatch.setattr("pipelines.entrypoints.forgetting.open_registry", lambda config: registry)
    out, where = tmp_path / "again", ["--dataset", DATASET]
    again = ["training-set", "--as-of", AS_OF.isoformat(), "--out", str(out), *where]
    assert main(again) == 0
    assert "u3" in str(pq.read_table(out / "train.parquet")["user_id"].to_pylist())
    shutil.rmtree(out)

    assert main(["forget-user", "u3", *where]) == 0
    capsys.readouterr()
    assert main(again) != 0
    told = capsys.readouterr().err
    assert "has no version" in told
    assert "history went when a user was forgotten" in told
    assert "`tandem materialize-features`" in told
    assert not out.exists()
    assert list(tmp_path.glob(".again*")) == [], "not half of it, either"
    assert main(["training-set", "--json", *where]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["fingerprint"] == clean.training_set.fingerprint

    workspace = Workspace(home)
    new = workspace.train(workspace.compute(workspace.snapshot()))
    assert main([*again, "--fingerprint", new.fingerprint]) == 0
    assert folder_files(out) == folder_files(Path(new.uri))
    rows = [row for file in out.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    before = [row for split in ("train", "validation", "test") for row in clean.rows(split).to_pylist()]
    assert {row["user_id"] for row in before} - {row["user_id"] for row in rows} == {"u3"}
    assert len(rows) == len([row for row in before if row["user_id"] != "u3"])
