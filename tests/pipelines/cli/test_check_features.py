"""`tandem check-features`: one line for each thing that would break, and an exit code for a pipeline of changes."""

import json
import os
from pathlib import Path

import pytest

from pipelines import entrypoints
from pipelines.cli.main import main


@pytest.mark.parametrize(
    ("version", "problems", "code", "said"),
    [
        (None, [], 0, "there is no champion yet"),
        ("3", [], 0, "champion 3 is served by the declared features"),
        ("3", ["feature x is gone", "service y is gone"], 1, ""),
    ],
)
def test_what_would_break_is_said(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str | None,
    problems: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    found = {"champion_version": version, "problems": problems}
    monkeypatch.setattr(entrypoints, "check_features", lambda config: found)
    assert main(["check-features"]) == code
    captured = capsys.readouterr()
    assert captured.out.strip() == said
    assert captured.err.splitlines() == [f"tandem check-features: {problem}" for problem in problems]
    assert main(["check-features", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == found
