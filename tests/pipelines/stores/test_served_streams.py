import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from pipelines.contracts import EventBatch
from pipelines.errors import ConfigError, PlatformError
from pipelines.stores.served import EVENT_LOG, open_served
from pipelines.stores.served_streams import ServedStreams, moment_of
from tests.contracts.served_log import KEEP, NAME, ServedLogContract, batch_ids, record
from tests.support.redis_server import SERVER, killable_redis, redis_server
from tests.support.serving import wait_until

pytestmark = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def open_log(address: str) -> Iterator[Any]:
    redis.Redis.from_url(address).flushdb()
    logs: list[ServedStreams] = []

    def make() -> ServedStreams:
        logs.append(ServedStreams(address, EVENT_LOG))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def opening(address: str) -> str:
    return f"from {ServedStreams.__module__} import ServedStreams\nlog = ServedStreams({address!r}, {EVENT_LOG!r})"


class TestContract(ServedLogContract):
    pass


def test_one_process_claims_and_another_goes_on_with_the_same_batch(open_log: Any) -> None:
    one, two = open_log(), open_log()
    one.append(NAME, [record("a"), record("b")])
    assert one.claim(NAME, after=0) == two.claim(NAME, after=0)
    assert one.log_id() == two.log_id()


def test_a_claim_that_another_drain_overtakes_begins_where_that_one_ended(
    open_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_log(), open_log()
    one.append(NAME, [record("a")])
    newest = one._newest

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        two.release(two.claim(NAME, after=0), keep=KEEP)
        two.append(NAME, [record("b")])
        return newest(*arguments)

    monkeypatch.setattr(one, "_newest", overtaken)
    batch = one.claim(NAME, after=0)
    assert (batch.number, batch_ids(one, batch)) == (2, ["b"])


def test_a_release_that_another_drain_overtakes_leaves_the_next_batch_alone(
    open_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = open_log(), open_log()
    one.append(NAME, [record("a")])
    batch, later, parse = one.claim(NAME, after=0), [], EventBatch.model_validate_json

    def overtaken(text: bytes) -> EventBatch:
        monkeypatch.undo()
        two.release(batch, keep=KEEP)
        two.append(NAME, [record("b")])
        later.append(two.claim(NAME, after=1))
        return parse(text)

    monkeypatch.setattr(EventBatch, "model_validate_json", overtaken)
    one.release(batch, keep=KEEP)
    two.append(NAME, [record("c")])
    assert [two.claim(NAME, after=1)] == later
    assert batch_ids(two, later[0]) == ["b"]


def test_long_batches_are_read_in_pieces(open_log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stores.served_streams.CHUNK_RECORDS", 2)
    log = open_log()
    log.append(NAME, [record(name) for name in "abcde"])
    assert batch_ids(log, log.claim(NAME, after=0)) == list("abcde")


def test_a_server_that_answers_too_early_is_refused(address: str, open_log: Any) -> None:
    client = redis.Redis.from_url(address)
    client.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(PlatformError, match="appendfsync always"):
            open_log().append(NAME, [record("a")])
    finally:
        client.config_set("appendfsync", "always")
    assert client.dbsize() == 0
    client.close()


def test_acknowledged_events_survive_the_server_being_killed(tmp_path: Path) -> None:
    """Killed while events come in, and started again on its folder, it has all that it had answered for."""
    acknowledged: list[str] = []

    def write(log: ServedStreams) -> None:
        with contextlib.suppress(redis.ConnectionError):
            for number in range(20_000):
                log.append(NAME, [record(f"e{number}")])
                acknowledged.append(f"e{number}")

    with killable_redis(tmp_path) as server, ThreadPoolExecutor() as pool:
        log = ServedStreams(server.address, EVENT_LOG)
        writing = pool.submit(write, log)
        wait_until(lambda: len(acknowledged) >= 200 or writing.done())
        server.kill()
        writing.result(30)
        server.start()
        found = batch_ids(log, log.claim(NAME, after=0))
        log.close()
    assert len(acknowledged) >= 200
    assert found[: len(acknowledged)] == acknowledged, "in the order in which they were acknowledged"
    assert len(found) <= len(acknowledged) + 1, "at most the one that had no answer yet"


def test_a_claimed_batch_survives_the_server_being_killed(tmp_path: Path) -> None:
    with killable_redis(tmp_path) as server:
        log = ServedStreams(server.address, EVENT_LOG)
        log.append(NAME, [record("a"), record("b")])
        batch = log.claim(NAME, after=0)
        assert batch is not None
        server.kill()
        server.start()
        log.append(NAME, [record("c")])
        assert log.claim(NAME, after=0) == batch
        log.release(batch, keep=KEEP)
        server.kill()
        server.start()
        second = log.claim(NAME, after=0)
        assert second is not None
        assert (second.number, batch_ids(log, second)) == (2, ["c"])
        log.close()


def test_a_place_within_a_millisecond_is_part_of_the_moment() -> None:
    assert moment_of(b"1000-7") < moment_of(b"1000-8") < moment_of(b"1001-0")


def test_redis_needs_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVED_REDIS", raising=False)
    with pytest.raises(ConfigError, match="SERVED_REDIS is not set"):
        open_served("redis", EVENT_LOG, home=tmp_path)
