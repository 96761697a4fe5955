"""Feast's SQLite online store, made safe to read while it is written, fast to fill, and never going back in time.

Feast's own store upserts whatever comes, so materializing an older window replaces newer values; it keeps event
times in whole seconds; and it locks readers out while it writes. Rows stay in Feast's format: any Feast reader of
SQLite can read them.
"""
# ruff: noqa: S608 - the table's name is quoted, the rest of the text is fixed

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

from pipelines.stores.online_rows import NOTHING, FeastRowWriter, OnlineRows, from_texts, times_of
from pipelines.stores.sqlite_checkpoint import Checkpoints

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

BUSY_MILLISECONDS = 30_000
CACHE_KIB = 32_768
CHECKPOINT_PAGES = 65_536  # 256 MiB: a commit moves the log by itself when `Checkpoints` did not keep up
KEYS_AT_ONCE = 500
QUARTER = 900  # seconds; every time zone's offset is constant within a quarter of an hour
NOTES = "tandem_notes"


class WalSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Settings of the store in the Feast yaml: `path` of the SQLite file."""

    type: Literal["pipelines.stores.sqlite_online_store.WalSqliteOnlineStore"] = (
        "pipelines.stores.sqlite_online_store.WalSqliteOnlineStore"
    )


class WalSqliteOnlineStore(FeastRowWriter, SqliteOnlineStore):
    """SQLite with a write-ahead log; a row is replaced only by one that is not older."""

    _checkpoints: Checkpoints | None = None

    def _get_conn(self, config: "RepoConfig") -> sqlite3.Connection:
        opened = self._conn is not None
        connection: sqlite3.Connection = super()._get_conn(config)
        if not opened:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._checkpoints = Checkpoints(self._get_db_path(config))
        return connection

    def update(
        self,
        config: "RepoConfig",
        tables_to_delete: Sequence["FeatureView"],
        tables_to_keep: Sequence["FeatureView"],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Create the tables of the views that are kept, with Feast's columns and the exact event time beside them.

        They have one index, their primary key: Feast's second one, of the entity key, is a part of it.
        """
        connection = self._get_conn(config)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {NOTES} (name TEXT PRIMARY KEY, note TEXT NOT NULL)")
        for view in tables_to_delete:
            connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")
            connection.execute(f"DELETE FROM {NOTES} WHERE name = ?", (_name(config, view),))
        for view in tables_to_keep:
            table = _table(config, view)
            connection.execute(f"""
                CREATE TABLE IF NOT EXISTS {table} (
                    entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, vector_value BLOB,
                    event_ts timestamp, created_ts timestamp, event_us INTEGER, PRIMARY KEY (entity_key, feature_name)
                ) WITHOUT ROWID
            """)
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if "event_us" not in columns:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN event_us INTEGER")
        connection.commit()

    def write_columns(self, config: "RepoConfig", view: "FeatureView", rows: OnlineRows) -> None:
        """Write rows in one transaction; those older than what is there are left out."""
        if not rows.values:
            return
        # One statement an entity: `?1` to `?4` are shared, then come the values, in the order of the table.
        values = dict(sorted(rows.values.items()))
        names = map(_text, values)
        cells = ", ".join(f"(?1, {name}, ?{n}, ?2, nullif(?3, {NOTHING}), ?4)" for n, name in enumerate(names, start=5))
        upsert = f"""
            INSERT INTO {_table(config, view)} (entity_key, feature_name, value, event_ts, created_ts, event_us)
            VALUES {cells}
            ON CONFLICT (entity_key, feature_name) DO UPDATE SET
                value = excluded.value, event_ts = excluded.event_ts, created_ts = excluded.created_ts,
                event_us = excluded.event_us
            WHERE excluded.event_us >= coalesce(event_us, event_ts * 1000000)
        """
        event, there = _local_seconds(rows.event_us), rows.created_us != NOTHING
        arrived = np.where(there, _local_seconds(np.where(there, rows.created_us, 0)), NOTHING)
        columns = [_bytearrays(rows.keys), event.tolist(), arrived.tolist(), rows.event_us.tolist()]
        columns += map(_bytearrays, values.values())
        with self._get_conn(config) as connection:
            connection.executemany(upsert, zip(*columns, strict=True))
        if self._checkpoints:
            self._checkpoints.wrote(len(values) * rows.keys.nbytes + sum(column.nbytes for column in values.values()))

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""
        connection, asked = self._get_conn(config), keys.to_pylist()
        names = sorted(field.name for field in view.features)
        wanted = ", ".join(map(_text, names))
        found: list[tuple[bytes, int, str]] = []
        for start in range(0, len(asked), KEYS_AT_ONCE):
            part = asked[start : start + KEYS_AT_ONCE]
            # Of each key all cells are read: the plus keeps SQLite from looking each of them up.
            query = f"""
                SELECT entity_key, min(us), group_concat(hex(value)) FROM (
                    SELECT entity_key, value, coalesce(event_us, event_ts * 1000000) AS us
                    FROM {_table(config, view)}
                    WHERE entity_key IN ({", ".join("?" * len(part))}) AND +feature_name IN ({wanted})
                    ORDER BY entity_key, feature_name
                ) GROUP BY entity_key HAVING count(*) = {len(names)}
            """
            found += connection.execute(query, part)
        return from_texts(keys, names, found)

    def event_times(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> np.ndarray:
        """Return for each key its oldest event time, `NOTHING` where there is no row."""
        connection, asked = self._get_conn(config), keys.to_pylist()
        found: list[tuple[bytes, int]] = []
        for start in range(0, len(asked), KEYS_AT_ONCE):
            part = asked[start : start + KEYS_AT_ONCE]
            query = f"""
                SELECT entity_key, min(coalesce(event_us, event_ts * 1000000)) FROM {_table(config, view)}
                WHERE entity_key IN ({", ".join("?" * len(part))}) GROUP BY entity_key
            """
            found += connection.execute(query, part)
        return times_of(keys, found)

    def count_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> int:
        """Return how many cells there are of an entity."""
        connection = self._get_conn(config)
        tables = _tables_there(connection, config, views)
        counts = (f"SELECT count(*) FROM {table} WHERE entity_key = ?" for table in tables)
        return sum(int(connection.execute(count, (key,)).fetchone()[0]) for count in counts)

    def erase_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> None:
        """Delete an entity's cells, then write the file anew and empty the log: free pages hold what was there.

        Raises:
            sqlite3.OperationalError: readers kept the log busy; what is left of the entity is in the log alone.
        """
        connection = self._get_conn(config)
        self._settle()
        with connection:
            for table in _tables_there(connection, config, views):
                connection.execute(f"DELETE FROM {table} WHERE entity_key = ?", (key,))
        connection.execute("VACUUM")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise sqlite3.OperationalError("the write-ahead log is being read, so it cannot be emptied")

    def remember(self, config: "RepoConfig", view: "FeatureView", note: str) -> None:
        """Keep a note about a view beside its rows."""
        self._settle()
        with self._get_conn(config) as connection:
            connection.execute(f"INSERT OR REPLACE INTO {NOTES} VALUES (?, ?)", (_name(config, view), note))

    def remembered(self, config: "RepoConfig", view: "FeatureView") -> str | None:
        """Return the note kept last about a view."""
        query = f"SELECT note FROM {NOTES} WHERE name = ?"
        row = self._get_conn(config).execute(query, (_name(config, view),)).fetchone()
        return row[0] if row else None

    def teardown(self, config: "RepoConfig", tables: Sequence["FeatureView"], entities: Sequence[Any]) -> None:
        """Delete the file."""
        self._settle()
        super().teardown(config, tables, entities)

    def _settle(self) -> None:
        if self._checkpoints:
            self._checkpoints.wait()


def _name(config: "RepoConfig", view: "FeatureView") -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    return str(compute_table_id(config.project, view, versioned))


def _table(config: "RepoConfig", view: "FeatureView") -> str:
    return '"' + _name(config, view).replace('"', '""') + '"'


def _tables_there(connection: sqlite3.Connection, config: "RepoConfig", views: Sequence["FeatureView"]) -> list[str]:
    """The tables of those views that have one: a store that was deleted to be filled anew has none for a while."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return [_table(config, view) for view in views if _name(config, view) in there]


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _bytearrays(column: pa.BinaryArray) -> list[bytearray]:
    """Binding `bytes`, or None, Python first looks for an adapter of that type, which takes longer than the insert."""
    return list(map(bytearray, column.to_pylist()))


def _local_seconds(microseconds: np.ndarray) -> np.ndarray:
    """Return the whole seconds that Feast, which reads them in local time, takes for these moments in UTC."""
    seconds = microseconds // 1_000_000
    quarters, inverse = np.unique(seconds // QUARTER, return_inverse=True)
    shown = [int(at.timestamp()) for at in (quarters * QUARTER).astype("datetime64[s]").tolist()]
    offsets = np.array(shown, np.int64) - quarters * QUARTER
    local: np.ndarray = seconds + offsets[inverse]
    return local
