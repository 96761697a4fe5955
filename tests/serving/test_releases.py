import dataclasses
import logging
import os
from datetime import UTC, datetime

import pytest

from pipelines.contracts import ModelVersion
from pipelines.errors import IntegrityError, RegistryError
from serving.metrics import Metrics
from serving.overlay import Overlay
from serving.releases import RegistrySource, ReleaseWatcher
from serving.users import UserReader
from tests.support.serving import FakeSource, FakeStore, wait_until
from tests.support.tiny_release import write_tiny_release


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def source(tmp_path):
    source = FakeSource()
    for version in ("1", "2"):
        source.put(version, write_tiny_release(tmp_path / version, prefix=version))
    return source


@pytest.fixture
def watch(source, tmp_path):
    def make():
        watcher = ReleaseWatcher(
            source,
            tmp_path / "cache",
            open_users=lambda bundle: UserReader(
                FakeStore, Overlay(max_users=1, max_events=1), dataset="tiny", history_length=1, retry_seconds=1
            ),
            metrics=Metrics(),
            retry_seconds=30,
            monotonic=(clock := Clock()),
        )
        return watcher, clock

    return make


def champion(source, version):
    source.point(source.put(version, source.folders[version]))


def version_of(watcher):
    return watcher.live and watcher.live.bundle.model.version


def value(watcher, name, **labels):
    return watcher._metrics.registry.get_sample_value(name, labels)


def test_without_a_champion_nothing_is_live(watch):
    watcher, _ = watch()
    watcher.poll()
    assert watcher.live is None
    assert watcher.status.absent
    assert value(watcher, "tandem_registry_up") == 1


def test_the_champion_is_loaded_once_and_swapped_when_it_changes(watch, source):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    watcher.poll()
    assert (version_of(watcher), source.fetched) == ("1", ["1"])
    champion(source, "2")
    watcher.poll()
    assert version_of(watcher) == "2"
    assert value(watcher, "tandem_release_swaps_total") == 2
    digest = source.model.digest[:12]
    assert value(watcher, "tandem_release_info", version="2", dataset="tiny", digest=digest) == 1


def test_a_damaged_release_is_refused_and_the_old_one_kept(watch, source, caplog):
    watcher, clock = watch()
    champion(source, "1")
    watcher.poll()
    champion(source, "2")
    (source.folders["2"] / "ranker.onnx").write_bytes(b"cut")
    with caplog.at_level(logging.ERROR):
        watcher.poll()
    assert version_of(watcher) == "1"
    assert "IntegrityError" in caplog.text
    assert "changed: ranker.onnx" in watcher.status.refused["2"]
    assert value(watcher, "tandem_releases_refused_total", error="IntegrityError") == 1
    watcher.poll()
    assert source.fetched == ["1", "2"], "a refused release is not fetched at every look"
    clock.now += 31
    watcher.poll()
    assert source.fetched == ["1", "2", "2"]


def test_going_back_clears_the_refusal(watch, source):
    watcher, _ = watch()
    (source.folders["2"] / "ranker.onnx").write_bytes(b"cut")
    champion(source, "2")
    watcher.poll()
    champion(source, "1")
    watcher.poll()
    assert version_of(watcher) == "1"
    assert watcher.status.refused == {}


def test_a_release_that_fails_while_warming_up_is_never_live(watch, source, monkeypatch):
    def broken(live):
        raise RuntimeError("shape mismatch")

    watcher, _ = watch()
    champion(source, "1")
    monkeypatch.setattr("serving.releases.warm_up", broken)
    watcher.poll()
    assert watcher.live is None
    assert "shape mismatch" in watcher.status.refused["1"]


def test_with_the_registry_down_the_release_stays(watch, source):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    source.error = RegistryError("connection refused")
    watcher.poll()
    assert version_of(watcher) == "1"
    assert watcher.status.registry_error == "connection refused"
    assert value(watcher, "tandem_registry_up") == 0
    source.error = None
    watcher.poll()
    assert watcher.status.registry_error is None


def test_a_restart_with_the_registry_down_loads_the_last_good_release(watch, source):
    watcher, _ = watch()
    champion(source, "2")
    watcher.poll()
    source.error = RegistryError("connection refused")
    again, _ = watch()
    again.poll()
    assert version_of(again) == "2"
    assert again.status.registry_error


def test_the_last_release_is_verified_again(watch, source):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    source.error = RegistryError("connection refused")
    (source.folders["1"] / "items.parquet").write_bytes(b"")
    again, _ = watch()
    again.poll()
    assert again.live is None
    assert "IntegrityError" in again.status.refused["1"]


@pytest.mark.parametrize("error", [ValueError("not JSON"), IntegrityError("digest")])
def test_whatever_the_registry_raises_serving_goes_on(watch, source, error):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    source.error = error
    watcher.poll()
    assert version_of(watcher) == "1"


def test_a_missing_alias_keeps_what_is_live(watch, source):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    source.point(None)
    watcher.poll()
    assert version_of(watcher) == "1"
    assert watcher.status.absent


def test_a_bug_in_one_look_does_not_end_the_watch(watch, source, monkeypatch, caplog):
    watcher, _ = watch()
    champion(source, "1")
    looks = []
    real = watcher.poll
    monkeypatch.setattr(watcher, "poll", lambda: looks.append(1) or (1 / 0 if len(looks) == 1 else real()))
    watcher.start(0.01)
    wait_until(lambda: version_of(watcher) == "1")
    watcher.stop()
    assert "division by zero" in caplog.text


def test_the_cache_keeps_the_live_release_and_the_newest_others(tmp_path):
    cache = tmp_path / "recommender"
    for age, name in enumerate(["live", "new", "newer", "old", ".downloading"]):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (1000 - 10 * age, 1000 - 10 * age))
    live = ModelVersion(name="recommender", version="1", run_id="r", dataset="tiny", digest="live-and-more")
    RegistrySource("http://127.0.0.1:9", "champion", tmp_path).forget_old(live)
    assert sorted(path.name for path in cache.iterdir()) == [".downloading", "live", "new", "newer"]


def test_a_live_release_cannot_be_changed(watch, source):
    watcher, _ = watch()
    champion(source, "1")
    watcher.poll()
    with pytest.raises(dataclasses.FrozenInstanceError):
        watcher.live.loaded_at = datetime.now(UTC)
