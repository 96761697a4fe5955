import os
import threading
from concurrent.futures import wait

import orjson
import pytest

from pipelines.errors import PlatformError
from serving.event_log import EventLog


@pytest.fixture
def open_log(tmp_path):
    logs = []

    def make():
        logs.append(EventLog(tmp_path / "events"))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


def records(*ids):
    return [{"event_id": i, "user_id": "u"} for i in ids]


def lines(tmp_path):
    files = sorted((tmp_path / "events").glob("*/*.jsonl"))
    return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_an_acknowledged_event_is_on_disk(open_log, tmp_path):
    assert open_log().append(records("a", "b")).result(5) == records("a", "b")
    assert lines(tmp_path) == records("a", "b")


def test_an_event_is_on_disk_before_it_is_acknowledged(open_log, tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), synced.append(len(lines(tmp_path)))))
    open_log().append(records("a")).result(5)
    assert synced[-1] == 1, "acknowledged without fsync after the write"


def test_a_repeated_id_is_written_once(open_log, tmp_path):
    log = open_log()
    assert log.append(records("a")).result(5) == records("a")
    assert log.append(records("a", "b", "b")).result(5) == records("b")
    assert lines(tmp_path) == records("a", "b")


def test_batches_that_wait_together_share_an_fsync(open_log, tmp_path, monkeypatch):
    log = open_log()
    log.append(records("first")).result(5)
    gate, syncs, real = threading.Event(), [], os.fsync

    def slow(descriptor):
        gate.wait(5)
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    waiting = [log.append(records(f"e{i}")) for i in range(50)]
    gate.set()
    wait(waiting, 5)
    assert len(syncs) <= 2
    assert len(lines(tmp_path)) == 51


def test_a_full_disk_keeps_nothing_and_says_so(open_log, tmp_path, monkeypatch):
    log = open_log()
    log.append(records("a")).result(5)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PlatformError, match="No space left"):
            log.append(records("b")).result(5)
    assert lines(tmp_path) == records("a"), "a refused event would come back by replay"
    assert log.append(records("b")).result(5) == records("b"), "a refused event counts as known"


def test_a_restart_replays_in_order_and_knows_old_ids(open_log, tmp_path):
    first = open_log()
    for i in "abc":
        first.append(records(i)).result(5)
    first.close()
    second = open_log()
    assert [r["event_id"] for r in second.replay(2)] == ["b", "c"]
    assert second.append(records("c", "d")).result(5) == records("d")


def test_a_line_cut_by_a_crash_is_skipped(open_log, tmp_path):
    log = open_log()
    log.append(records("a")).result(5)
    log.close()
    (file,) = (tmp_path / "events").glob("*/*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"event_id": "half')
    again = open_log()
    assert list(again.replay(10)) == records("a")
    again.append(records("b")).result(5)
    assert [r["event_id"] for r in open_log().replay(10)] == ["a", "b"]


def test_a_closed_log_refuses(open_log):
    log = open_log()
    log.close()
    with pytest.raises(PlatformError, match="stopping"):
        log.append(records("a"))


def test_files_are_split_by_size(open_log, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.event_log.MAX_FILE_BYTES", 10)
    log = open_log()
    for i in "abc":
        log.append(records(i)).result(5)
    assert len(list((tmp_path / "events").glob("*/*.jsonl"))) == 3
