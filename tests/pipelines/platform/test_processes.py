"""Processes are recognised by pid and start time, and end with all they started and nothing else."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.platform.processes import Record, end, load_record, spawn

SLEEP = "import time; time.sleep(60)"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
open(sys.argv[1], "w").write(str(child.pid))
child.wait()
"""
LEAVER = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
open(sys.argv[1], "w").write(str(child.pid))
"""
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write("1")
time.sleep(60)
"""


def start(code: str, tmp_path: Path, *arguments: str) -> Record:
    child = spawn(
        [sys.executable, "-c", code, *arguments], env=os.environ, log=tmp_path / "logs" / "out.log", cwd=tmp_path
    )
    STARTED.append(child)
    return Record(child.pid, psutil.Process(child.pid).create_time(), "digest")


STARTED: list = []


@pytest.fixture(autouse=True)
def _leave_nothing_running() -> Iterator[None]:
    yield
    for child in STARTED:
        if child.poll() is None:
            child.kill()
        child.wait()
    STARTED.clear()


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} was not written"
        time.sleep(0.02)
    return file.read_text()


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_spawned_process_has_a_session_of_its_own_and_logs(tmp_path: Path) -> None:
    record = start("import os; print(os.getsid(0))", tmp_path)
    log = tmp_path / "logs" / "out.log"
    assert wait_for(log).strip() == str(record.pid)


def test_a_record_survives_being_written_and_read(tmp_path: Path) -> None:
    record = Record(12, 34.5, "digest", 8080)
    record.save(tmp_path / "mlflow.json")
    assert load_record(tmp_path / "mlflow.json") == record


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_record_that_was_cut_off_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert load_record(tmp_path / "x.json") is None
    assert load_record(tmp_path / "missing.json") is None


def test_a_reused_pid_is_not_taken_for_the_process(tmp_path: Path) -> None:
    record = start(SLEEP, tmp_path)
    assert record.process is not None
    impostor = Record(record.pid, record.started - 100, "digest")
    assert impostor.process is None
    assert end([impostor]) == 0
    assert record.process is not None, "a process that is not ours was ended"


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    record = start(PARENT, tmp_path, str(tmp_path / "child"))
    child = int(wait_for(tmp_path / "child"))
    assert end([record]) == 2
    assert record.process is None
    assert not runs(child)


def test_children_whose_parent_died_end_too(tmp_path: Path) -> None:
    record = start(LEAVER, tmp_path, str(tmp_path / "child"))
    child = int(wait_for(tmp_path / "child"))
    STARTED[0].wait()
    assert runs(child)
    assert end([record]) == 1
    assert not runs(child)


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    record = start(STUBBORN, tmp_path, str(tmp_path / "ready"))
    wait_for(tmp_path / "ready")
    assert end([record], grace_seconds=0.2) == 1
    assert record.process is None


def test_a_neighbour_goes_on(tmp_path: Path) -> None:
    ours, neighbour = start(SLEEP, tmp_path), start(SLEEP, tmp_path)
    end([ours])
    assert neighbour.process is not None
