"""Secrets are made once and are their owner's alone."""

import stat
from pathlib import Path

from pipelines.platform import secrets


def test_they_are_made_once(tmp_path: Path) -> None:
    assert secrets.airflow_secrets(tmp_path) == secrets.airflow_secrets(tmp_path)
    assert secrets.password(tmp_path) == secrets.password(tmp_path)


def test_two_homes_have_different_ones(tmp_path: Path) -> None:
    assert secrets.password(tmp_path / "a") != secrets.password(tmp_path / "b")
    assert secrets.airflow_secrets(tmp_path / "a") != secrets.airflow_secrets(tmp_path / "b")


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    secrets.airflow_secrets(tmp_path)
    secrets.password(tmp_path)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
