import threading
from datetime import timedelta

import pytest

from pipelines.stores.served import stamp_nothing
from pipelines.stores.served_files import ServedFiles
from serving.feature_log import FeatureLog


class Dropped:
    count = 0

    def __call__(self):
        self.count += 1


@pytest.fixture
def make(tmp_path):
    logs = []

    def make(place=None, share=1.0, **bounds):
        dropped = Dropped()
        place = place or ServedFiles(tmp_path / "requests", stamp=stamp_nothing, durable=False)
        bounds = {"keep": timedelta(hours=1), "max_bytes": 10**6, **bounds}
        logs.append(FeatureLog(place, share=share, dropped=dropped, **bounds))
        return logs[-1], dropped

    yield make
    for log in logs:
        log.close()


def kept(tmp_path):
    return [r["n"] for r in ServedFiles(tmp_path / "requests", stamp=stamp_nothing).newest("tiny", 999)]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)])
def test_the_sample_is_the_share_evenly_spaced(make, share, expected):
    log, _ = make(share=share)
    wanted = [log.wants() for _ in range(1000)]
    assert sum(wanted) == expected
    if share == 0.1:
        assert {sum(wanted[n : n + 10]) for n in range(0, 1000, 10)} == {1}


def test_records_are_kept_by_data_set_in_order(make, tmp_path):
    log, dropped = make()
    for n in range(50):
        log.add("tiny" if n % 2 else "other", {"n": n})
    log.close()
    assert kept(tmp_path) == list(range(1, 50, 2))
    assert dropped.count == 0


def test_a_slow_disk_costs_records_not_requests(make, monkeypatch):
    monkeypatch.setattr("serving.feature_log.MAX_WAITING", 3)
    go_on, writing = threading.Event(), threading.Event()

    class Slow:
        written = []

        def append(self, name, records):
            writing.set()
            go_on.wait(10)
            self.written += records

        def prune(self, name, **bounds): ...

        def close(self): ...

    log, dropped = make(Slow())
    log.add("tiny", {"n": 0})
    writing.wait(10)
    for n in range(1, 10):
        log.add("tiny", {"n": n})
    assert dropped.count == 6
    go_on.set()
    log.close()
    assert len(Slow.written) == 4


def test_a_full_disk_is_counted_and_survived(make, tmp_path, monkeypatch):
    log, dropped = make()
    monkeypatch.setattr(ServedFiles, "append", lambda *_: 1 / 0)
    log.add("tiny", {"n": 1})
    log.close()
    assert dropped.count == 1


def test_old_and_many_records_go(make, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.stores.served_files.MAX_FILE_BYTES", 10)
    monkeypatch.setattr("serving.feature_log.PRUNE_SECONDS", 0)
    log, _ = make(max_bytes=60)
    for n in range(100, 130):
        log._write("tiny", [{"n": n}])
    assert 1 <= len(kept(tmp_path)) <= 8
    assert kept(tmp_path)[-1] == 129
