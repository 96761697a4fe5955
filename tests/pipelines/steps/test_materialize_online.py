"""What is online is complete, new, never goes back, and can be read all the while."""

import sqlite3
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import FeatureStoreError
from pipelines.steps.materialize_online import materialize_online
from pipelines.stores.materialization import _Audit
from pipelines.stores.online_rows import OnlineRows
from pipelines.stores.sqlite_online_store import WalSqliteOnlineStore
from tests.support.feature_data import AS_OF, START, Workspace, event, item, random_tables, user


def blob(text: str) -> str:
    return f"x'{text.encode().hex()}'"


OF_U1 = f"instr(entity_key, {blob('u1')})"


def change(home: Path, statement: str) -> None:
    """Do what somebody else could do to the online store."""
    connection = sqlite3.connect(home / "feast" / "online.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


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


def test_rows_that_did_not_arrive_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=23)))
    write = WalSqliteOnlineStore.write_columns
    lost = []

    def losing_one(self: Any, config: Any, view: Any, rows: OnlineRows) -> None:
        if len(rows) > 1:
            lost.append(view.name)
            rows = rows.where(np.arange(len(rows)) > 0)
        write(self, config, view, rows)

    monkeypatch.setattr(WalSqliteOnlineStore, "write_columns", losing_one)
    assert materialize_online(features, store=workspace.store).num_online["user_activity"] == 6
    assert set(lost) == set(features.versions)

    def losing_all(self: Any, config: Any, view: Any, rows: OnlineRows) -> None:
        """Nothing arrives."""

    monkeypatch.setattr(WalSqliteOnlineStore, "write_columns", losing_all)
    newer = features.model_copy(update={"snapshot": features.snapshot.model_copy(update={"as_of": AS_OF})})
    change(tmp_path, "DELETE FROM 'tiny_user_activity:rows'")
    with pytest.raises(FeatureStoreError, match="6 of 6 entities of 'user_activity' are missing online"):
        materialize_online(newer, store=workspace.store)


def test_event_times_that_went_back_are_noticed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    features = materialize_online(workspace.compute(workspace.fill(random_tables(seed=24))), store=workspace.store)
    pushed = AS_OF + timedelta(days=1)
    change(tmp_path, f"UPDATE 'tiny_user_seen:rows' SET event_us = {int(pushed.timestamp() * 1_000_000)}")
    materialize_online(features, store=workspace.store)
    change(tmp_path, f"UPDATE 'tiny_user_seen:rows' SET event_us = event_us - 1 WHERE {OF_U1}")
    for _ in range(2):  # until somebody does something about it
        with pytest.raises(
            FeatureStoreError, match=r"1 of the entities of 'user_seen' are older .* user_id 'u1'; expected"
        ):
            materialize_online(features, store=workspace.store)
    change(tmp_path, "UPDATE 'tiny_user_seen:rows' SET event_us = event_us - 1")
    with pytest.raises(FeatureStoreError, match=r"6 of the entities of 'user_seen' are older .* and 1 more; expected"):
        materialize_online(features, store=workspace.store)
    (tmp_path / "feast" / "online.db").unlink()
    assert materialize_online(features, store=workspace.store) == features, "an emptied store starts anew"


def test_any_entity_that_was_set_back_is_noticed_whoever_heals_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path)
    events = [event(n, f"u{n}", "i", START + timedelta(minutes=n)) for n in range(300)]
    tables: dict[str, Any] = {"events": events, "items": [item("i", [])], "users": []}
    features = materialize_online(workspace.compute(workspace.fill(tables)), store=workspace.store)
    change(tmp_path, f"UPDATE 'tiny_user_seen:rows' SET event_us = 1 WHERE instr(entity_key, {blob('u299')})")
    with caplog.at_level("INFO"):
        materialize_online(features, store=workspace.store)
    assert (
        "1 of the entities of 'user_seen' are older online than when they were audited last: user_id 'u299'"
        in caplog.text
    )
    assert "user_seen: 300 entities online" in caplog.text
    assert "1 had gone back, none has now" in caplog.text
    caplog.clear()
    materialize_online(features, store=workspace.store)
    assert "older online" not in caplog.text


def test_entities_that_go_or_move_forward_are_no_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The speed layer is ahead of the lake; users are forgotten, and rows expire, which then start anew."""
    workspace = Workspace(tmp_path)
    features = materialize_online(workspace.compute(workspace.fill(random_tables(seed=29))), store=workspace.store)
    pushed = int((AS_OF + timedelta(days=1)).timestamp() * 1_000_000)
    for ahead in (pushed, pushed + 1):
        change(tmp_path, f"UPDATE 'tiny_user_seen:rows' SET event_us = {ahead}")
        materialize_online(features, store=workspace.store)
    change(tmp_path, f"DELETE FROM 'tiny_user_seen:rows' WHERE {OF_U1}")
    materialize_online(features, store=workspace.store)
    assert "older online" not in caplog.text


def test_an_entity_that_is_online_alone_is_still_compared(tmp_path: Path) -> None:
    """An older snapshot, made before it existed, does not know it."""
    workspace = Workspace(tmp_path)
    events = [event(0, "u0", "i", START), event(1, "u1", "i", START + timedelta(hours=1))]
    snapshot = workspace.fill({"events": events, "items": [item("i", [])], "users": []})
    new = workspace.compute(snapshot)
    old = workspace.compute(snapshot.model_copy(update={"as_of": START + timedelta(minutes=30)}))
    materialize_online(new, store=workspace.store)
    materialize_online(old, store=workspace.store)
    change(tmp_path, f"UPDATE 'tiny_user_seen:rows' SET event_us = event_us - 1 WHERE {OF_U1}")
    with pytest.raises(FeatureStoreError, match=r"1 of the entities of 'user_seen' are older .* user_id 'u1'"):
        materialize_online(old, store=workspace.store)


def test_an_unchanged_feature_set_is_not_written_again_and_changes_by_others_are_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path)
    features = materialize_online(workspace.compute(workspace.fill(random_tables(seed=27))), store=workspace.store)
    before = workspace.store.online_user("u1")
    writes: Counter[str] = Counter()
    write = WalSqliteOnlineStore.write_columns

    def counted(self: Any, config: Any, view: Any, rows: OnlineRows) -> None:
        writes[view.name] += len(rows)
        write(self, config, view, rows)

    monkeypatch.setattr(WalSqliteOnlineStore, "write_columns", counted)
    assert materialize_online(features, store=workspace.store) == features
    assert not writes
    change(tmp_path, "UPDATE 'tiny_user_history:rows' SET value_recent_items = x''")
    change(tmp_path, "DELETE FROM 'tiny_user_taste:rows'")
    with caplog.at_level("INFO"):
        materialize_online(features, store=workspace.store)
    assert writes == {"user_history": 6, "user_taste": 6}
    assert workspace.store.online_user("u1") == before
    assert "user_taste: 6 entities online" in caplog.text
    assert "6 outside of the window repaired" in caplog.text
    (tmp_path / "feast" / "online.db").unlink()
    materialize_online(features, store=workspace.store)
    assert workspace.store.online_user("u1") == before


@pytest.mark.parametrize(("lookback", "num_repaired"), [(timedelta(days=3), 0), (timedelta(0), 1)])
def test_rows_that_come_late_reach_the_online_store(
    tmp_path: Path, lookback: timedelta, num_repaired: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition delivered before the last window's end is ingested after it: the lookback covers it."""
    audits, repair = Counter(), _Audit._repair
    monkeypatch.setattr(_Audit, "_repair", lambda self, rows: (audits.update([self._view.name]), repair(self, rows)))
    workspace = Workspace(tmp_path)
    tables = random_tables(seed=28)
    ended = AS_OF - timedelta(days=1)
    first = workspace.compute(workspace.fill(tables).model_copy(update={"as_of": ended}))
    materialize_online(first, store=workspace.store)
    late = event(991, "u1", "late", START, ingested_at=ended - timedelta(days=2))
    snapshot = workspace.fill(tables | {"events": [*tables["events"], late]})
    features = workspace.compute(snapshot)
    materialize_online(features, store=workspace.store, since=ended, lookback=lookback)
    assert "late" in workspace.store.online_user("u1")["seen_items"]
    assert audits["user_seen"] == num_repaired


def test_a_run_killed_while_feast_marked_a_view_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=25)))

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WalSqliteOnlineStore, "write_columns", killed)
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
        while not done.wait(0.002):  # a pause, or they would hold the interpreter nearly all the time
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
        writer.execute("UPDATE 'tiny_user_history:rows' SET event_ts = event_ts")
        assert workspace.store.online_user("u1") == expected
        writer.execute("COMMIT")
    for _ in range(3):
        materialize_online(features, store=workspace.store)
    done.set()
    for reader in readers:
        reader.join()
    writer.close()
    assert problems == []
