"""Feast's SQLite online store, made safe to read while it is written, and never going back in time.

Feast's own store upserts whatever comes, so materializing an older window replaces newer values; it keeps event
times in whole seconds; and it locks readers out while it writes. Rows stay in Feast's format: any Feast reader of
SQLite can read them.
"""
# ruff: noqa: S608 - the table's name is quoted

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.utils import to_naive_utc

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

BUSY_MILLISECONDS = 30_000
EPOCH = datetime(1970, 1, 1)


class WalSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store in the Feast yaml: `path` of the SQLite file."""

    type: Literal["pipelines.stores.sqlite_online_store.WalSqliteOnlineStore"] = (
        "pipelines.stores.sqlite_online_store.WalSqliteOnlineStore"
    )


class WalSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """SQLite with a write-ahead log; a row is replaced only by one that is not older."""

    def _get_conn(self, config: "RepoConfig") -> sqlite3.Connection:
        opened = self._conn is not None
        connection: sqlite3.Connection = super()._get_conn(config)
        if not opened:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
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
        """Create the tables of the views that are kept, with the exact event time beside Feast's columns."""
        super().update(config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial)
        connection = self._get_conn(config)
        for view in tables_to_keep:
            table = _table(config, view)
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if "event_us" not in columns:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN event_us INTEGER")
        connection.commit()

    def online_write_batch(
        self,
        config: "RepoConfig",
        table: "FeatureView",
        data: list[tuple[Any, dict[str, Any], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows in one transaction; those older than what is there are left out."""
        upsert = f"""
            INSERT INTO {_table(config, table)} (entity_key, feature_name, value, event_ts, created_ts, event_us)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (entity_key, feature_name) DO UPDATE SET
                value = excluded.value, event_ts = excluded.event_ts, created_ts = excluded.created_ts,
                event_us = excluded.event_us
            WHERE excluded.event_us >= coalesce(event_us, event_ts * 1000000)
        """
        version = config.entity_key_serialization_version
        connection = self._get_conn(config)
        with connection:
            connection.executemany(upsert, _cells(data, version))
        if progress:
            progress(len(data))


def _table(config: "RepoConfig", view: "FeatureView") -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    return '"' + str(compute_table_id(config.project, view, versioned)).replace('"', '""') + '"'


def _cells(
    data: Iterable[tuple[Any, dict[str, Any], datetime, datetime | None]], version: int
) -> Iterator[tuple[bytes, str, bytes, int, int | None, int]]:
    """One row of the table for each feature of each entity."""
    for key, values, moment, created in data:
        entity = serialize_entity_key(key, entity_key_serialization_version=version)
        naive = to_naive_utc(moment)
        # Feast reads whole seconds and in local time; the exact moment is kept beside them.
        seconds, exact = int(naive.timestamp()), _microseconds(naive)
        created_seconds = None if created is None else int(to_naive_utc(created).timestamp())
        for name, value in values.items():
            yield entity, name, value.SerializeToString(), seconds, created_seconds, exact


def _microseconds(naive: datetime) -> int:
    span = naive - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
