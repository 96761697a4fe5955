"""Feast's SQLite online store, made safe to read while it is written, fast to fill, and never going back in time.

Feast's own store upserts whatever comes, so materializing an older window replaces newer values; it keeps event
times in whole seconds; and it locks readers out while it writes. A view shows rows in Feast's format: any Feast reader
of SQLite can read them.
"""
# ruff: noqa: S608 - names are quoted, the rest of the text is fixed

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

from pipelines.stores import sqlite_tables
from pipelines.stores.online_rows import NOTHING, FeastRowWriter, OnlineRows, times_of
from pipelines.stores.sqlite_checkpoint import Checkpoints
from pipelines.stores.sqlite_tables import quoted, rows_table, value_column

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
        """Create the tables of the views that are kept, and columns for features that are new in them.

        Raises:
            FeatureStoreError: two features of a view differ in case alone.
        """
        connection = self._get_conn(config)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {NOTES} (name TEXT PRIMARY KEY, note TEXT NOT NULL)")
        for view in tables_to_delete:
            sqlite_tables.drop(connection, _name(config, view))
            with connection:
                connection.execute(f"DELETE FROM {NOTES} WHERE name = ?", (_name(config, view),))
        for view in tables_to_keep:
            sqlite_tables.make(connection, _name(config, view), [field.name for field in view.features])

    def write_columns(self, config: "RepoConfig", view: "FeatureView", rows: OnlineRows) -> None:
        """Write rows in one transaction; those older than what is there are left out."""
        if not rows.values:
            return
        table, names = rows_table(_name(config, view)), [value_column(name) for name in rows.values]
        given = ", ".join(f"?{n}" for n in range(5, 5 + len(names)))
        taken = ", ".join(f"{name} = excluded.{name}" for name in names)
        upsert = f"""
            INSERT INTO {table} (entity_key, event_ts, created_ts, event_us, {", ".join(names)})
            VALUES (?1, ?2, nullif(?3, {NOTHING}), ?4, {given})
            ON CONFLICT (entity_key) DO UPDATE SET
                event_ts = excluded.event_ts, created_ts = excluded.created_ts, event_us = excluded.event_us, {taken}
            WHERE excluded.event_us >= event_us
        """
        event, there = _local_seconds(rows.event_us), rows.created_us != NOTHING
        arrived = np.where(there, _local_seconds(np.where(there, rows.created_us, 0)), NOTHING)
        columns = [_bytearrays(rows.keys), event.tolist(), arrived.tolist(), rows.event_us.tolist()]
        columns += map(_bytearrays, rows.values.values())
        with self._get_conn(config) as connection:
            connection.executemany(upsert, zip(*columns, strict=True))
        if self._checkpoints:
            self._checkpoints.wrote(rows.keys.nbytes + sum(column.nbytes for column in rows.values.values()))

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""
        names = [field.name for field in view.features]
        # Named with their table: a quoted name that is no column would be a text to SQLite.
        columns = [f"r.{value_column(name)}" for name in names]
        whole = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        found = self._found(config, view, keys, f"entity_key, event_us, {', '.join(columns)}", whole)
        kinds = [pa.binary(), pa.int64(), *(pa.binary() for _ in names)]
        there = zip(*found, strict=True) if found else ((), *((),) * (len(kinds) - 1))
        found_keys, us, *values = (pa.array(part, kind) for part, kind in zip(there, kinds, strict=True))
        row = pc.index_in(keys, found_keys)
        return OnlineRows(
            keys=keys,
            values={name: part.take(row).fill_null(b"") for name, part in zip(names, values, strict=True)},
            event_us=us.take(row).fill_null(NOTHING).to_numpy(zero_copy_only=False),
            created_us=np.full(len(keys), NOTHING),
        )

    def event_times(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> np.ndarray:
        """Return for each key its oldest event time, `NOTHING` where there is no row."""
        return times_of(keys, self._found(config, view, keys, "entity_key, event_us", "true"))

    def count_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> int:
        """Return how many cells there are of an entity."""
        connection = self._get_conn(config)
        shown = (quoted(name) for name in _names_there(connection, config, views))
        counts = (f"SELECT count(*) FROM {view} WHERE entity_key = ?" for view in shown)
        return sum(int(connection.execute(count, (key,)).fetchone()[0]) for count in counts)

    def erase_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> None:
        """Delete an entity's cells, then write the file anew and empty the log: free pages hold what was there.

        Raises:
            sqlite3.OperationalError: readers kept the log busy; what is left of the entity is in the log alone.
        """
        connection = self._get_conn(config)
        self._settle()
        with connection:
            for name in _names_there(connection, config, views):
                connection.execute(f"DELETE FROM {rows_table(name)} WHERE entity_key = ?", (key,))
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

    def _found(
        self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray, columns: str, condition: str
    ) -> list[Any]:
        """Columns of the rows that there are of some keys and that a condition holds for, in any order."""
        connection, asked = self._get_conn(config), keys.to_pylist()
        found: list[Any] = []
        for start in range(0, len(asked), KEYS_AT_ONCE):
            part = asked[start : start + KEYS_AT_ONCE]
            query = f"""
                SELECT {columns} FROM {rows_table(_name(config, view))} AS r
                WHERE entity_key IN ({", ".join("?" * len(part))}) AND {condition}
            """
            found += connection.execute(query, part)
        return found

    def _settle(self) -> None:
        if self._checkpoints:
            self._checkpoints.wait()


def _name(config: "RepoConfig", view: "FeatureView") -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    return str(compute_table_id(config.project, view, versioned))


def _names_there(connection: sqlite3.Connection, config: "RepoConfig", views: Sequence["FeatureView"]) -> list[str]:
    """The tables of those views that have one: a store that was deleted to be filled anew has none for a while."""
    names = (_name(config, view) for view in views)
    return [name for name in names if sqlite_tables.is_there(connection, name)]


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
