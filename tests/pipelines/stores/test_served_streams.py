from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pipelines.errors import ConfigError, PlatformError
from pipelines.stores.served import EVENT_LOG, open_served
from pipelines.stores.served_streams import ServedStreams, moment_of
from tests.contracts.served_log import NAME, ServedLogContract, batch_ids, record
from tests.support.redis_server import SERVER, redis_server

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


class TestContract(ServedLogContract):
    pass


def test_one_process_claims_and_another_goes_on_with_the_same_batch(open_log: Any) -> None:
    one, two = open_log(), open_log()
    one.append(NAME, [record("a"), record("b")])
    assert one.claim(NAME, after=0) == two.claim(NAME, after=0)
    assert one.log_id() == two.log_id()


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
    """The files as they are at the moment of an answer hold the event: what a power cut would leave."""
    with redis_server(tmp_path) as address:
        log = ServedStreams(address, EVENT_LOG)
        log.append(NAME, [record("find-me")])
        content = b"".join(path.read_bytes() for path in tmp_path.rglob("*.aof"))
        log.close()
    assert b"find-me" in content


def test_a_place_within_a_millisecond_is_part_of_the_moment() -> None:
    assert moment_of(b"1000-7") < moment_of(b"1000-8") < moment_of(b"1001-0")


def test_redis_needs_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVED_REDIS", raising=False)
    with pytest.raises(ConfigError, match="SERVED_REDIS is not set"):
        open_served("redis", EVENT_LOG, home=tmp_path)
