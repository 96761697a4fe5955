"""Past days by date range, as the form *Backfill* of Airflow's UI asks for them, through the real scheduler."""

import contextlib
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import PlatformError
from pipelines.platform import secrets
from pipelines.platform.airflow_client import AirflowClient
from pipelines.stores.artifacts import folder_files
from tests.support.platform import RunningPlatform

pytestmark = [pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(1500)]

DAG = "backfill_features"
DAYS = ("2025-06-10", "2025-06-11")


class Backfills:
    """Backfills of the first run's data set."""

    def __init__(self, platform: RunningPlatform) -> None:
        password = secrets.password(platform.home / "airflow")
        self.airflow = AirflowClient(platform.url("airflow"), secrets.USER, password)
        self.home = platform.home

    def run(self, first: str, last: str, *, online: bool, again: bool = False) -> dict[str, str]:
        """Backfill days and wait until their runs are over; returns partition -> the run made for it."""
        known = {run["dag_run_id"] for run in self._runs()}
        number = self.airflow._ask("POST", "backfills", self._form(first, last, online=online, again=again))["id"]
        deadline = time.monotonic() + 600
        made = [run for run in self._runs() if run["dag_run_id"] not in known]
        while not all(run["state"] in ("success", "failed") for run in made):
            assert time.monotonic() < deadline, f"the backfill does not end: {made}"
            time.sleep(0.5)
            made = [run for run in self._runs() if run["dag_run_id"] not in known]
        # The scheduler looks twice a minute whether a backfill is over, and until then there is no second one.
        with contextlib.suppress(PlatformError):  # it just looked
            self.airflow._ask("PUT", f"backfills/{number}/cancel")
        assert [run["state"] for run in made] == ["success"] * len(made)
        return {run["partition_key"]: run["dag_run_id"] for run in made}

    def would_run(self, first: str, last: str) -> list[Any]:
        """What the form shows before it is sent: the runs that it would make."""
        form = self._form(first, last, online=False, again=False)
        return list(self.airflow._ask("POST", "backfills/dry_run", form)["backfills"])

    def _form(self, first: str, last: str, *, online: bool, again: bool) -> dict[str, Any]:
        return {
            "dag_id": DAG,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T23:59:59Z",
            "dag_run_conf": {"dataset": "synthetic", "online": online},
            "reprocess_behavior": "completed" if again else "none",
            "max_active_runs": 1,
        }

    def _runs(self) -> list[dict[str, Any]]:
        runs = self.airflow._ask("GET", f"dags/{DAG}/dagRuns?order_by=run_after&limit=100")["dag_runs"]
        return [run for run in runs if run["run_type"] == "backfill"]

    def exported(self, run: str) -> Any:
        return self.airflow.result(DAG, run, "export_features")

    def states(self, run: str) -> dict[str, str | None]:
        return {task.name: task.state for task in self.airflow.tasks(DAG, run)}

    def online_rows(self) -> dict[str, Any]:
        """Every row of the online store, without when it was written."""
        with sqlite3.connect(f"file:{self.home}/feast/online.db?mode=ro", uri=True) as store:
            tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
            columns = "hex(entity_key), feature_name, hex(value), event_ts"
            return {
                table: sorted(store.execute(f"SELECT {columns} FROM {table}").fetchall())
                for table in tables
                if table.startswith("synthetic_")
            }


@pytest.fixture(scope="module")
def backfills(platform: RunningPlatform, first_run: Any) -> Backfills:
    return Backfills(platform)


@pytest.fixture(scope="module")
def before(backfills: Backfills) -> dict[str, Any]:
    rows = backfills.online_rows()
    assert sum(map(len, rows.values())) > 1_000
    return rows


@pytest.fixture(scope="module")
def first(backfills: Backfills, before: dict[str, Any]) -> dict[str, str]:
    """A backfill of both days, the online store not asked for."""
    return backfills.run(*DAYS, online=False)


def test_a_run_a_day_leaves_files_and_the_online_store_as_it_was(
    backfills: Backfills, before: dict[str, Any], first: dict[str, str]
) -> None:
    assert list(first) == list(DAYS)
    for day, run in first.items():
        assert backfills.states(run)["materialize_if_asked"] == "skipped"
        exported = backfills.exported(run)
        assert exported["start"].startswith(day)
        assert exported["num_rows"]["user_activity"] > 0
        assert {f"{view}.parquet" for view in exported["num_rows"]} == set(folder_files(Path(exported["uri"])))
    assert backfills.online_rows() == before


def test_the_same_day_again_gives_the_same_files_and_brings_them_online_where_asked(
    backfills: Backfills, before: dict[str, Any], first: dict[str, str]
) -> None:
    day = DAYS[0]
    exported = backfills.exported(first[day])
    files = folder_files(Path(exported["uri"]))
    shutil.rmtree(exported["uri"])  # else what is there would be found, and nothing made again
    assert backfills.would_run(day, day) == [], "a day that has a run is left out, unless it is asked for again"
    (again,) = backfills.run(day, day, online=True, again=True).values()
    assert backfills.exported(again)["digest"] == exported["digest"]
    assert folder_files(Path(exported["uri"])) == files
    assert backfills.states(again)["materialize_if_asked"] == "success"
    assert backfills.online_rows() == before, "newer values stay"
