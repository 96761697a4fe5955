"""A report is found below the run folders and nowhere else, and a log names its page."""

import logging
from pathlib import Path

import pytest

from dags.pages import say_where
from dags.plugins.reports import find


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example:8080/")
    (tmp_path / "runs" / "d" / "docs").mkdir(parents=True)
    for name in ("docs/report.html", "docs/model.keras", "rows.parquet"):
        (tmp_path / "runs" / "d" / name).write_text("x")
    (tmp_path / "secret.html").write_text("x")
    return tmp_path / "runs"


def test_finds_the_files_of_a_report(runs: Path) -> None:
    assert find("/d/docs/report.html") == runs / "d/docs/report.html"


@pytest.mark.parametrize(
    "path",
    ["/d/rows.parquet", "/d/docs/model.keras", "/d/docs", "/../secret.html", "//etc/hostname", "/d/none.html", ""],
)
def test_shows_nothing_else(runs: Path, path: str) -> None:
    assert find(path) is None


def test_shows_nothing_that_a_link_leads_out_to(runs: Path) -> None:
    (runs / "d" / "out.html").symlink_to(runs.parent / "secret.html")
    assert find("/d/out.html") is None


def test_a_log_names_the_page_of_each_report(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    say_where(logging.getLogger("task"), f"refused. Report {runs}/d/docs/report.html, and /elsewhere/report.html.")
    assert [record.getMessage() for record in caplog.records] == [
        "Report: http://airflow.example:8080/tandem/reports/d/docs/report.html",
        "Report: /elsewhere/report.html",
    ]
