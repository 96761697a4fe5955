import os
import threading
from concurrent.futures import wait

import orjson
import pytest

from pipelines.errors import PlatformError
from pipelines.stores.served import stamp_nothing
from pipelines.stores.served_files import ServedFiles
from serving.event_log import EventLog
from tests.support.serving import wait_until


@pytest.fixture
def open_log(tmp_path):
    logs = []

    def make():
        logs.append(EventLog(ServedFiles(tmp_path / "events", stamp=stamp_nothing)))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


def records(*ids):
    return [{"event_id": i, "user_id": "u"} for i in ids]


def named(*ids):
    return [("tiny", record) for record in records(*ids)]


def append(log, *ids):
    return log.append("tiny", records(*ids)).result(5)


def lines(tmp_path):
    files = sorted((tmp_path / "events").glob("*/*.jsonl"))
    return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def test_an_acknowledged_event_is_on_disk(open_log, tmp_path):
    assert append(open_log(), "a", "b") == records("a", "b")
    assert lines(tmp_path) == records("a", "b")


def test_an_event_is_on_disk_before_it_is_acknowledged(open_log, tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), synced.append(len(lines(tmp_path)))))
    append(open_log(), "a")
    assert synced[-1] == 1, "acknowledged without fsync after the write"


def test_a_repeated_id_is_written_once(open_log, tmp_path):
    log = open_log()
    assert append(log, "a") == records("a")
    assert append(log, "a", "b", "b") == records("b")
    assert lines(tmp_path) == records("a", "b")


def test_batches_that_wait_together_share_an_fsync(open_log, tmp_path, monkeypatch):
    log = open_log()
    append(log, "first")
    gate, syncs, real = threading.Event(), [], os.fsync

    def slow(descriptor):
        gate.wait(5)
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    waiting = [log.append("tiny", records(f"e{i}")) for i in range(50)]
    gate.set()
    wait(waiting, 5)
    assert len(syncs) <= 2
    assert len(lines(tmp_path)) == 51


def test_a_full_disk_keeps_nothing_and_says_so(open_log, tmp_path, monkeypatch):
    log = open_log()
    append(log, "a")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PlatformError, match="No space left"):
            append(log, "b")
    assert lines(tmp_path) == records("a"), "a refused event would come back with the next start"
    assert append(log, "b") == records("b"), "a refused event counts as known"


def test_a_restart_finds_the_newest_in_order_and_knows_old_ids(open_log, tmp_path):
    first = open_log()
    for i in "abc":
        append(first, i)
    first.close()
    second = open_log()
    assert second.recent(2) == named("b", "c")
    assert append(second, "c", "d") == records("d")


def test_events_of_another_process_are_handed_on_and_known(open_log):
    here, there, seen = open_log(), open_log(), []
    here.follow(seen.extend, seconds=0.01)
    append(there, "a")
    wait_until(lambda: seen == named("a"))
    assert append(here, "a", "b") == records("b"), "an event sent to both is written twice"
    append(there, "c")
    wait_until(lambda: seen == named("a", "c"))
    assert here.lag_seconds() < 5


def test_following_goes_on_after_a_failure(open_log, monkeypatch):
    here, there, seen = open_log(), open_log(), []
    monkeypatch.setattr(here._tail, "poll", lambda: 1 / 0)
    here.follow(seen.extend, seconds=0.01)
    append(there, "a")
    wait_until(lambda: here.lag_seconds() > 0.1)
    monkeypatch.undo()
    wait_until(lambda: seen == named("a"))


def test_a_closed_log_refuses(open_log):
    log = open_log()
    log.close()
    with pytest.raises(PlatformError, match="stopping"):
        append(log, "a")
