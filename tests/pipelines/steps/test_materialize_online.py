"""What is online is complete, new, never goes back, and can be read all the while."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast.infra.online_stores.sqlite import SqliteOnlineStore

from pipelines.errors import FeatureStoreError
from pipelines.steps.materialize_online import materialize_online
from pipelines.stores.sqlite_online_store import WalSqliteOnlineStore
from tests.support.feature_data import AS_OF, START, Workspace, event, item, random_tables, user


def test_every_entity_is_online(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    features = materialize_online(workspace.compute(workspace.fill(random_tables(seed=21))), store=workspace.store)
    assert features.num_online == {
        "user_activity": 6,
        "user_history": 6,
        "user_taste": 6,
        "user_profile": 5,
        "user_seen": 6,
        "user_window": 6,
        "item_popularity": 10,
        "item_quality": 10,
        "item_content": 10,
    }
    assert materialize_online(features, store=workspace.store) == features


def test_an_older_snapshot_does_not_bring_back_old_values(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    moments = [START, START + timedelta(microseconds=5)]
    events = [event(n, "u", f"i{n}", at) for n, at in enumerate(moments)]
    tables: dict[str, list[dict[str, object]]] = {"events": events, "items": [item("i0", [])], "users": [user("u", [])]}
    snapshot = workspace.fill(tables)
    new = workspace.compute(snapshot)
    old = workspace.compute(snapshot.model_copy(update={"as_of": moments[1]}))
    materialize_online(new, store=workspace.store)
    materialize_online(old, store=workspace.store)
    assert workspace.store.online_user("u")["recent_items"] == ["i0", "i1"]
    assert workspace.store.online_user("u")["user_num_events"] == 2


def test_a_newer_snapshot_replaces_values(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tables = random_tables(seed=22)
    materialize_online(workspace.compute(workspace.fill(tables)), store=workspace.store)
    late = event(990, "u1", "late", START, ingested_at=AS_OF - timedelta(hours=1))
    materialize_online(
        workspace.compute(workspace.fill(tables | {"events": [*tables["events"], late]})), store=workspace.store
    )
    assert workspace.store.online_user("u1")["recent_items"][-1] == "late"


def test_rows_that_did_not_arrive_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=23)))
    write = WalSqliteOnlineStore.online_write_batch

    def losing_one(self: Any, config: Any, table: Any, data: list[Any], progress: Any) -> None:
        write(self, config, table, data[1:], progress)

    monkeypatch.setattr(WalSqliteOnlineStore, "online_write_batch", losing_one)
    with pytest.raises(FeatureStoreError, match="5 of 6 entities of 'user_activity' are online"):
        materialize_online(features, store=workspace.store)


def test_stale_rows_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=24)))
    read = SqliteOnlineStore.online_read

    def yesterday(self: Any, *args: Any) -> Any:
        return [(at and at - timedelta(days=1), values) for at, values in read(self, *args)]

    monkeypatch.setattr(WalSqliteOnlineStore, "online_read", yesterday)
    with pytest.raises(FeatureStoreError, match="as new as offline"):
        materialize_online(features, store=workspace.store)


def test_a_run_killed_while_feast_marked_a_view_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=25)))

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WalSqliteOnlineStore, "online_write_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            materialize_online(features, store=workspace.store)
    assert materialize_online(features, store=workspace.store).num_online["user_seen"] == 6


def test_readers_never_wait_or_fail_while_rows_are_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    features = materialize_online(workspace.compute(workspace.fill(random_tables(seed=26))), store=workspace.store)
    expected = workspace.store.online_user("u1")
    done, problems = threading.Event(), []

    def read() -> None:
        store = workspace.store
        while not done.is_set():
            try:
                if store.online_user("u1") != expected:
                    problems.append("another value")
            except FeatureStoreError as error:
                problems.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    with sqlite3.connect(tmp_path / "feast" / "online.db", isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE tiny_user_history SET event_ts = event_ts")
        assert workspace.store.online_user("u1") == expected
        writer.execute("COMMIT")
    for _ in range(3):
        materialize_online(features, store=workspace.store)
    done.set()
    for reader in readers:
        reader.join()
    writer.close()
    assert problems == []
