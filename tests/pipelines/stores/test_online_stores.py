"""The online-store contract on SQLite, PostgreSQL and Redis, and what is particular to each."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64
from google.protobuf.timestamp_pb2 import Timestamp

from pipelines.errors import FeatureStoreError
from pipelines.stores.online_encoding import timestamps
from pipelines.stores.online_rows import NOTHING, from_feast
from tests.contracts.online_store import NOON, TICK, USER, OnlineStoreContract, OpenStore, entity, opened, view
from tests.support.servers import no_postgres, no_redis, postgres_database, redis_server


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if reason := no_redis():
        pytest.skip(f"online store in Redis is not tested: {reason}")
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if reason := no_postgres():
        pytest.skip(f"online store in PostgreSQL is not tested: {reason}")
    with postgres_database() as url:
        yield url


class TestSqlite(OnlineStoreContract):
    feasts_own = "sqlite"

    @pytest.fixture
    def settings(self, tmp_path: Path) -> dict[str, Any]:
        path = str(tmp_path / "online.db")
        return {"type": "pipelines.stores.sqlite_online_store.WalSqliteOnlineStore", "path": path}

    def test_no_byte_of_an_erased_entity_is_left(self, store: OpenStore, settings: dict[str, Any]) -> None:
        users = [f"user-{n:03}" for n in range(300)]
        for number in range(3):  # replaced rows and split pages leave copies behind
            store.write(*((user, number, NOON + TICK * number) for user in users))
        files = [Path(settings["path"]), Path(settings["path"] + "-wal")]
        assert any(b"user-007" in file.read_bytes() for file in files)
        key = from_feast(store.config, [(entity("user-007"), {}, NOON, None)]).keys[0].as_py()
        store.online.erase_entity(store.config, [store.view], key)
        assert not any(b"user-007" in file.read_bytes() for file in files)
        assert store.numbers("user-007", "user-008") == [None, 2]

    def test_the_log_is_moved_while_rows_are_written(
        self, store: OpenStore, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(("user-007", 1, NOON))
        assert b"user-007" not in Path(settings["path"]).read_bytes()
        monkeypatch.setattr("pipelines.stores.sqlite_checkpoint.CHECKPOINT_BYTES", 1)
        for number in range(5):
            store.write(("user-008", number, NOON + TICK * number))
        store.online.remember(store.config, store.view, "settled")
        assert b"user-007" in Path(settings["path"]).read_bytes()
        assert store.numbers("user-007", "user-008") == [1, 4]

    def test_a_table_that_feast_made_is_taken_over(self, settings: dict[str, Any], tmp_path: Path) -> None:
        feasts = opened(tmp_path, settings | {"type": "sqlite"})
        feasts.apply([USER, view()])
        rows = [(entity("u1"), {"num": Value(int64_val=1)}, NOON, None)]
        feasts.provider.online_store.online_write_batch(feasts.config, view(), rows, None)
        ours = opened(tmp_path / "ours", settings)
        ours.apply([USER, view()])
        store = OpenStore(ours, ours.get_feature_view("activity"))
        store.write(("u1", 2, NOON - TICK * 1_000_000))
        assert store.numbers("u1") == [1]
        store.write(("u1", 2, NOON))
        assert store.numbers("u1") == [2]
        with sqlite3.connect(settings["path"]) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()

    def test_cells_that_an_earlier_version_wrote_are_taken_over(self, settings: dict[str, Any], tmp_path: Path) -> None:
        us, cells = 1_709_294_400_000_001, {"num": Value(int64_val=1), "gone": Value(string_val="old")}
        (key,) = from_feast(opened(tmp_path, settings).config, [(entity("u1"), {}, NOON, None)]).keys.to_pylist()
        with sqlite3.connect(settings["path"]) as connection:
            connection.execute("""
                CREATE TABLE contract_activity (
                    entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, vector_value BLOB,
                    event_ts timestamp, created_ts timestamp, event_us INTEGER, PRIMARY KEY (entity_key, feature_name)
                ) WITHOUT ROWID
            """)
            rows = [(key, name, value.SerializeToString(), us // 1_000_000, us) for name, value in cells.items()]
            insert = "INSERT INTO contract_activity (entity_key, feature_name, value, event_ts, event_us) VALUES "
            connection.executemany(insert + "(?, ?, ?, ?, ?)", rows)
        connection.close()
        feast = opened(tmp_path, settings)
        for _ in range(2):
            feast.apply([USER, view(features={"num": Int64, "more": Int64})])
        store = OpenStore(feast, feast.get_feature_view("activity"))
        (_, found), *_ = store.online.online_read(store.config, store.view, [entity("u1")], ["num"])
        assert found == cells
        assert store.online.event_times(store.config, store.view, pa.array([key])).tolist() == [us]
        assert store.online.count_entity(store.config, [store.view], key) == 2

    def test_features_that_differ_in_case_alone_are_refused(self, settings: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(FeatureStoreError, match="'num' and 'Num'; expected names that differ in more"):
            opened(tmp_path, settings).apply([USER, view(features={"num": Int64, "Num": Int64})])

    def test_names_may_hold_whatever_they_like(self, settings: dict[str, Any], tmp_path: Path) -> None:
        feast = opened(tmp_path, settings)
        names = ["it's", 'a "quoted" one', "event_ts", "entity_key"]
        feast.apply([USER, view(features=dict.fromkeys(names, Int64))])
        store = OpenStore(feast, feast.get_feature_view("activity"))
        given = {name: Value(int64_val=number) for number, name in enumerate(names)}
        store.online.online_write_batch(store.config, store.view, [(entity("u1"), given, NOON, None)], None)
        (_, found), *_ = store.online.online_read(store.config, store.view, [entity("u1")], names)
        assert found == given
        assert (store.read("u1").event_us != NOTHING).all()

    def test_a_view_that_is_no_longer_declared_leaves_nothing(self, store: OpenStore, settings: dict[str, Any]) -> None:
        store.write(("u1", 1, NOON))
        store.feast.apply([], objects_to_delete=[store.view], partial=False)
        with sqlite3.connect(settings["path"]) as connection:
            left = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%activity%'").fetchall()
        connection.close()
        assert left == []


class TestRedis(OnlineStoreContract):
    feasts_own = "redis"

    @pytest.fixture
    def settings(self, redis_port: int) -> Iterator[dict[str, Any]]:
        yield {
            "type": "pipelines.stores.redis_online_store.ForwardRedisOnlineStore",
            "connection_string": f"127.0.0.1:{redis_port}",
        }
        redis.Redis(port=redis_port).flushall()

    def test_a_server_that_forgot_the_script_gets_it_again(self, store: OpenStore) -> None:
        store.write(("u1", 1, NOON))
        store.online._get_client(store.config.online_store).script_flush()
        store.write(("u1", 2, NOON))
        assert store.numbers("u1") == [2]

    def test_event_times_are_feasts_own_bytes(self) -> None:
        numbers = [0, 1, 1_700_000_000_000_000, 1_700_000_000_123_456, -1, -5_000_000]
        expected = []
        for number in numbers:
            stamp = Timestamp()
            stamp.FromMicroseconds(number)
            expected.append(stamp.SerializeToString())
        assert timestamps(np.array(numbers)).to_pylist() == expected

    def test_an_error_of_the_server_is_raised_and_the_connection_stays_usable(self, store: OpenStore) -> None:
        client = store.online._get_client(store.config.online_store)
        key = store.read("u1").keys[0].as_py() + b"contract"
        client.set(key, "a string, no hash")
        with pytest.raises(Exception, match="WRONGTYPE"):
            store.write(("u0", 1, NOON), ("u1", 1, NOON), ("u2", 1, NOON))
        assert store.numbers("u0", "u2") == [1, 1]

    def test_rows_expire_when_asked(self, settings: dict[str, Any], tmp_path: Path) -> None:
        feast = opened(tmp_path, settings | {"key_ttl_seconds": 1_000})
        feast.apply([USER, view()])
        store = OpenStore(feast, feast.get_feature_view("activity"))
        store.write(("u1", 1, NOON))
        (key,) = store.online._get_client(feast.config.online_store).keys()
        assert 0 < store.online._get_client(feast.config.online_store).ttl(key) <= 1_000

    def test_a_cluster_is_refused(self, store: OpenStore) -> None:
        store.config.online_store.redis_type = "redis_cluster"
        with pytest.raises(FeatureStoreError, match="redis_cluster; expected redis"):
            store.write(("u1", 1, NOON))


class TestPostgres(OnlineStoreContract):
    @pytest.fixture
    def settings(self, postgres_url: str) -> Iterator[dict[str, Any]]:
        yield {"type": "pipelines.stores.postgres_online_store.ForwardPostgresOnlineStore", "url": postgres_url}
        with psycopg.connect(postgres_url) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def feasts_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        parts = urlsplit(settings["url"])
        place = {"host": parts.hostname, "port": parts.port, "database": parts.path[1:], "user": parts.username}
        return {"type": "postgres", "db_schema": "public", "password": "unused", "sslmode": "disable", **place}

    def close(self, feast: FeatureStore) -> None:
        feast.provider.online_store._conn.close()

    def test_writers_of_the_same_new_entity_take_turns(self, store: OpenStore, postgres_url: str) -> None:
        store.write(("seen", 2, NOON))
        copied = """
            INSERT INTO contract_activity (entity_key, feature_name, value, event_ts)
            SELECT %s, feature_name, value, event_ts FROM contract_activity
        """
        (key,) = store.read("u1").keys.to_pylist()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s"
        with psycopg.connect(postgres_url) as other, ThreadPoolExecutor(1) as thread:
            other.execute("SELECT pg_advisory_xact_lock(hashtextextended('contract_activity', 0))")
            other.execute(copied, (key,))
            older = thread.submit(store.write, ("u1", 1, NOON - TICK))
            pid = store.online._opened.info.backend_pid
            while not older.done() and other.execute(waiting, (pid,)).fetchone() != (1,):
                pass
            other.commit()
            older.result()
        assert store.numbers("u1") == [2]

    def test_a_broken_connection_is_opened_anew(self, store: OpenStore, postgres_url: str) -> None:
        store.write(("u1", 1, NOON))
        pid = store.online._opened.info.backend_pid
        with psycopg.connect(postgres_url) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(psycopg.OperationalError):
            store.numbers("u1")
        assert store.numbers("u1") == [1]
