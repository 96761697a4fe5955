"""Imports go the directions the design fixes, and the check that says so can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config import REPOSITORY

PACKAGES = ("pipelines", "serving", "feature_repo", "dags")
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources to plant a violation in."""
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    result = lint(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("pipelines/errors.py", "import pipelines.steps", "Imports only point right"),
        ("dags/assets.py", "import pipelines.config", "DAGs say when"),
        ("pipelines/config/base.py", "import airflow", "Nothing but dags knows Airflow"),
        ("serving/__init__.py", "import tensorflow", "Serving loads exported models"),
        ("pipelines/stores/base.py", "import pipelines.models", "Models know no store"),
        ("pipelines/inputs/__init__.py", "import pandas", "Model inputs are numpy and pyarrow alone"),
        ("pipelines/steps/__init__.py", "import pipelines.settings", "Imports only point right"),
        ("pipelines/contracts/base.py", "import pyarrow", "Contracts, configuration and errors"),
    ],
)
def test_a_planted_violation_is_found(sources: Path, file: str, line: str, contract: str) -> None:
    with (sources / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    result = lint(sources)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [text for text in result.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(contract in text for text in broken) or contract in result.stdout, result.stdout
