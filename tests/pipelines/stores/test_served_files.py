from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.stores.served import UNREADABLE
from pipelines.stores.served_files import ServedFiles
from tests.contracts.served_log import NAME, ServedLogContract, batch_ids, record


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Any]:
    logs: list[ServedFiles] = []

    def make() -> ServedFiles:
        logs.append(ServedFiles(tmp_path / "events"))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def opening(tmp_path: Path) -> str:
    folder = str(tmp_path / "events")
    return f"from {ServedFiles.__module__} import ServedFiles, Path\nlog = ServedFiles(Path({folder!r}))"


class TestContract(ServedLogContract):
    pass


def test_a_line_cut_by_a_crash_is_passed_over(open_log: Any, tmp_path: Path) -> None:
    log = open_log()
    log.append(NAME, [record("a")])
    (file,) = (tmp_path / "events" / NAME).glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"event_id": "half')
    assert [r["event_id"] for _, r in open_log().tail().recent(10)] == ["a"]
    assert batch_ids(log, log.claim(NAME, after=0)) == ["a"]


def test_a_line_that_is_no_json_comes_as_its_text(open_log: Any, tmp_path: Path) -> None:
    log = open_log()
    log.append(NAME, [record("a")])
    (file,) = (tmp_path / "events" / NAME).glob("*.jsonl")
    file.write_bytes(b"\x00\xffgarbage\n" + file.read_bytes() + b"3\n")
    batch = log.claim(NAME, after=0)
    texts = [r.get(UNREADABLE) for chunk in log.read(batch) for r in chunk]
    assert texts == ["\x00\ufffdgarbage", None, "3"], "in the order of the file: they have no moment of their own"


def test_files_are_split_by_size(open_log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stores.served_files.MAX_FILE_BYTES", 10)
    log = open_log()
    for name in "abc":
        log.append(NAME, [record(name)])
    assert len(list((tmp_path / "events" / NAME).glob("*.jsonl"))) == 3
    assert batch_ids(log, log.claim(NAME, after=0)) == ["a", "b", "c"]


def test_a_release_killed_halfway_is_finished_by_the_next(open_log: Any, tmp_path: Path) -> None:
    one, two = open_log(), open_log()
    one.append(NAME, [record("a")])
    two.append(NAME, [record("b")])
    batch = one.claim(NAME, after=0)
    sealed = sorted((tmp_path / "events" / NAME).glob("*.sealed"))
    sealed[0].rename(sealed[0].with_suffix(".drained"))
    assert batch_ids(one, one.claim(NAME, after=0)) == ["a", "b"]
    one.release(batch, keep=timedelta(hours=1))
    assert not one.waiting(NAME)


def test_the_oldest_files_go_beyond_a_size(open_log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stores.served_files.MAX_FILE_BYTES", 10)
    log = open_log()
    for name in "abcd":
        log.append(NAME, [record(name)])
    size = next((tmp_path / "events" / NAME).glob("*.jsonl")).stat().st_size
    log.prune(NAME, older_than=timedelta(hours=1), max_bytes=2 * size)
    assert [r["event_id"] for _, r in open_log().tail().recent(9)] == ["c", "d"]
