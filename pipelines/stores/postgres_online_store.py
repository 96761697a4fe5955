"""An online store in PostgreSQL: Feast's table, filled through binary `COPY`, and never going back in time.

Feast's own store upserts whatever comes, a cell at a time, so materializing an older window replaces newer values;
it also needs psycopg's pool. Here new entities are copied straight into the table; a batch's others are copied into a
temporary one and go from there by one statement. The table is Feast's: Feast's own PostgreSQL store can read it.
"""

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.repo_config import FeastConfigBaseModel
from pydantic import StrictStr

from pipelines.stores.online_encoding import fixed, join, lengths_of
from pipelines.stores.online_rows import NOTHING, FeastRowWriter, OnlineRows, from_texts, times_of

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig
    from psycopg.sql import Composed, Identifier

NOTES = "tandem_notes"
CELLS_PACKED = 20_000  # at once
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01


class ForwardPostgresOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in the Feast yaml.

    Attributes:
        url: where the database is, such as `postgresql://user:password@host:5432/feast`.
    """

    type: Literal["pipelines.stores.postgres_online_store.ForwardPostgresOnlineStore"] = (
        "pipelines.stores.postgres_online_store.ForwardPostgresOnlineStore"
    )
    url: StrictStr


class ForwardPostgresOnlineStore(FeastRowWriter, OnlineStore):
    """PostgreSQL; a row is replaced only by one that is not older."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: Any = None
        self._lock = threading.Lock()

    def update(
        self,
        config: "RepoConfig",
        tables_to_delete: Sequence["FeatureView"],
        tables_to_keep: Sequence["FeatureView"],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Create the tables of the views that are kept, with Feast's columns and one index, the primary key."""
        from psycopg import sql

        with self._transaction(config) as cursor:
            cursor.execute(_sql("CREATE TABLE IF NOT EXISTS {} (name TEXT PRIMARY KEY, note TEXT NOT NULL)", NOTES))
            for view in tables_to_delete:
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_table(config, view)))
                cursor.execute(_sql("DELETE FROM {} WHERE name = %s", NOTES), (_name(config, view),))
            for view in tables_to_keep:
                create = """
                    CREATE TABLE IF NOT EXISTS {} (
                        entity_key BYTEA, feature_name TEXT COLLATE "C", value BYTEA, value_text TEXT,
                        vector_value BYTEA, event_ts TIMESTAMPTZ, created_ts TIMESTAMPTZ,
                        PRIMARY KEY (entity_key, feature_name)
                    )
                """
                cursor.execute(sql.SQL(create).format(_table(config, view)))

    def teardown(self, config: "RepoConfig", tables: Sequence["FeatureView"], entities: Sequence[Any]) -> None:
        """Drop the views' tables."""
        self.update(config, tables, [], entities, [], False)

    def write_columns(self, config: "RepoConfig", view: "FeatureView", rows: OnlineRows) -> None:
        """Write rows in one transaction; those older than what is there are left out."""
        if not rows.values or not len(rows):
            return
        with self._transaction(config) as cursor:
            # Writers of a view take turns: none inserts an entity that another found missing too.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (_name(config, view),))
            there = _sql("SELECT DISTINCT entity_key FROM {} WHERE entity_key = ANY(%b)", _name(config, view))
            found = cursor.execute(there, (rows.keys.to_pylist(),), binary=True).fetchall()
            known = pc.is_in(rows.keys, pa.array([key for (key,) in found], pa.binary())).to_numpy(zero_copy_only=False)
            # Three times as fast as replacing: most entities of a first or a full run are new.
            _insert(cursor, _table(config, view), rows if not known.any() else rows.where(~known))
            if known.any():
                _replace(cursor, _table(config, view), rows.where(known))

    def online_read(
        self,
        config: "RepoConfig",
        table: "FeatureView",
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Return event time and values of each entity, None and None for one that has no row."""
        from feast.infra.key_encoding_utils import serialize_entity_key
        from feast.protos.feast.types.Value_pb2 import Value

        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, entity_key_serialization_version=version) for key in entity_keys]
        found: dict[bytes, tuple[datetime, dict[str, Any]]] = {}
        for key, name, value, at in self._cells(config, table, keys, requested_features):
            found.setdefault(key, (at, {}))[1][name] = Value.FromString(value)
        return [found.get(key, (None, None)) for key in keys]

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""
        names = sorted(field.name for field in view.features)
        query = """
            SELECT entity_key, (extract(epoch FROM min(event_ts)) * 1000000)::bigint,
                string_agg(encode(coalesce(value, ''), 'hex'), ',' ORDER BY feature_name COLLATE "C")
            FROM {} WHERE entity_key = ANY(%b) AND feature_name = ANY(%b)
            GROUP BY entity_key HAVING count(*) = %s
        """
        with self._transaction(config) as cursor:
            cursor.execute(_sql(query, _name(config, view)), (keys.to_pylist(), names, len(names)), binary=True)
            return from_texts(keys, names, cursor.fetchall())

    def event_times(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> np.ndarray:
        """Return for each key its oldest event time, `NOTHING` where there is no row."""
        query = """
            SELECT entity_key, (extract(epoch FROM min(event_ts)) * 1000000)::bigint
            FROM {} WHERE entity_key = ANY(%b) GROUP BY entity_key
        """
        with self._transaction(config) as cursor:
            cursor.execute(_sql(query, _name(config, view)), (keys.to_pylist(),), binary=True)
            return times_of(keys, cursor.fetchall())

    def count_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> int:
        """Return how many cells there are of an entity."""
        from psycopg import sql

        count = sql.SQL("SELECT count(*) FROM {} WHERE entity_key = %s")
        with self._transaction(config) as cursor:
            tables = _tables_there(cursor, [_name(config, view) for view in views])
            found = [cursor.execute(count.format(table), (key,)).fetchone() for table in tables]
        return sum(int(row[0]) for row in found if row)

    def erase_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> None:
        """Delete an entity's cells and vacuum, because a deleted or replaced row stays in its page until then."""
        import psycopg
        from psycopg import sql

        delete = sql.SQL("DELETE FROM {} WHERE entity_key = %s")
        with self._transaction(config) as cursor:
            tables = _tables_there(cursor, [_name(config, view) for view in views])
            for table in tables:
                cursor.execute(delete.format(table), (key,))
        with psycopg.connect(config.online_store.url, autocommit=True) as connection:
            for table in (*tables, sql.Identifier(NOTES)):
                connection.execute(sql.SQL("VACUUM {}").format(table))

    def remember(self, config: "RepoConfig", view: "FeatureView", note: str) -> None:
        """Keep a note about a view beside its rows."""
        text = "INSERT INTO {} VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET note = excluded.note"
        with self._transaction(config) as cursor:
            cursor.execute(_sql(text, NOTES), (_name(config, view), note))

    def remembered(self, config: "RepoConfig", view: "FeatureView") -> str | None:
        """Return the note kept last about a view."""
        with self._transaction(config) as cursor:
            cursor.execute(_sql("SELECT note FROM {} WHERE name = %s", NOTES), (_name(config, view),))
            row = cursor.fetchone()
        return None if row is None else str(row[0])

    def _cells(
        self, config: "RepoConfig", view: "FeatureView", keys: list[bytes], names: list[str] | None
    ) -> list[tuple[bytes, str, bytes, datetime]]:
        from psycopg import sql

        query = "SELECT entity_key, feature_name, value, event_ts FROM {} WHERE entity_key = ANY(%b)"
        chosen, parameters = (" AND feature_name = ANY(%b)", (keys, names)) if names else ("", (keys,))
        with self._transaction(config) as cursor:
            cursor.execute(sql.SQL(query + chosen).format(_table(config, view)), parameters, binary=True)
            cells: list[tuple[bytes, str, bytes, datetime]] = cursor.fetchall()
        return cells

    @contextlib.contextmanager
    def _transaction(self, config: "RepoConfig") -> Iterator[Any]:
        """A cursor on the one connection, which is opened anew after it broke; threads take turns."""
        import psycopg

        with self._lock:
            if self._opened is None or self._opened.closed:
                self._opened = psycopg.connect(config.online_store.url, autocommit=True)
                weakref.finalize(self, self._opened.close)
            with self._opened.transaction(), self._opened.cursor() as cursor:
                yield cursor


def _insert(cursor: Any, table: "Identifier", rows: OnlineRows) -> None:
    """Copy the cells of entities that have none into the table."""
    from psycopg import sql

    copy_cells = sql.SQL("COPY {} (entity_key, feature_name, value, event_ts, created_ts) FROM STDIN (FORMAT BINARY)")
    with cursor.copy(copy_cells.format(table)) as copy:
        copy.write(_COPY_HEAD)
        # The server works on a part while the next is packed.
        size = max(1, CELLS_PACKED // len(rows.values))
        for start in range(0, len(rows), size):
            copy.write(_cells(rows, start, size))
        copy.write(_COPY_END)


def _replace(cursor: Any, table: "Identifier", rows: OnlineRows) -> None:
    """Bring rows of entities that have some by way of a temporary table; the older ones are left out."""
    from psycopg import sql

    names = list(rows.values)
    columns = [sql.Identifier(f"value_{n}") for n in range(len(names))]
    definitions = sql.SQL(", ").join(sql.SQL("{} BYTEA").format(column) for column in columns)
    stage = sql.Identifier(f"stage_{len(names)}")
    create = """
        CREATE TEMP TABLE IF NOT EXISTS {} (key BYTEA, event_at TIMESTAMPTZ, created_at TIMESTAMPTZ, {})
        ON COMMIT DELETE ROWS
    """
    # In order of key: two writers lock rows in one order, and neighbours share pages.
    upsert = """
        INSERT INTO {table} AS online (entity_key, feature_name, value, event_ts, created_ts)
        SELECT key, cell.name, cell.value, event_at, created_at
        FROM (SELECT * FROM {stage} ORDER BY key) AS row CROSS JOIN LATERAL (VALUES {cells}) AS cell (name, value)
        ON CONFLICT (entity_key, feature_name) DO UPDATE SET
            value = excluded.value, event_ts = excluded.event_ts, created_ts = excluded.created_ts
        WHERE excluded.event_ts >= online.event_ts
    """
    cells = sql.SQL(", ").join(sql.SQL("(%s::text, {})").format(column) for column in columns)
    cursor.execute(sql.SQL(create).format(stage, definitions))
    with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(stage)) as copy:
        copy.write(_copied(rows))
    cursor.execute(sql.SQL(upsert).format(table=table, stage=stage, cells=cells), names)


def _cells(rows: OnlineRows, start: int, size: int) -> memoryview:
    """The cells of `size` rows as rows of binary `COPY`, an entity's features in order of their names, as the index."""
    part = slice(start, start + size)
    event, created = _stamps(rows.event_us[part]), _stamps(rows.created_us[part])
    num = len(event)
    head = join([(5).to_bytes(2, "big"), *_field(rows.keys.slice(start, size))], num)
    tail = join([event, created], num)
    parts: list[bytes | pa.BinaryArray] = []
    for name in sorted(rows.values):
        parts += [head, _word(name.encode()), *_field(rows.values[name].slice(start, size)), tail]
    return _bytes(join(parts, num))


def _copied(rows: OnlineRows) -> bytes:
    """Rows in the format of binary COPY: https://www.postgresql.org/docs/current/sql-copy.html."""
    parts: list[bytes | pa.BinaryArray] = [(3 + len(rows.values)).to_bytes(2, "big")]
    parts += [*_field(rows.keys), _stamps(rows.event_us), _stamps(rows.created_us)]
    for column in rows.values.values():
        parts += _field(column)
    return b"".join([_COPY_HEAD, _bytes(join(parts, len(rows))), _COPY_END])


def _bytes(column: pa.BinaryArray) -> memoryview:
    offsets = np.frombuffer(column.buffers()[1], np.int32)
    return memoryview(column.buffers()[2])[offsets[0] : offsets[len(column)]]


def _word(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _field(column: pa.BinaryArray) -> list[pa.BinaryArray]:
    return [fixed(lengths_of(column).astype(">i4").view(np.uint8).reshape(-1, 4)), column]


def _stamps(us: np.ndarray) -> pa.BinaryArray:
    """Moments as fields; one that is `NOTHING` as a null."""
    numbers = fixed((us - _POSTGRES_EPOCH_US).astype(">i8").view(np.uint8).reshape(-1, 8))
    given = join([b"\0\0\0\x08", numbers], len(us))
    return pc.if_else(pa.array(us == NOTHING), pa.scalar(_NULL, pa.binary()), given)


def _name(config: "RepoConfig", view: "FeatureView") -> str:
    return str(compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning))


def _tables_there(cursor: Any, names: list[str]) -> list["Identifier"]:
    """Those tables that there are: a store that was emptied to be filled anew has none for a while."""
    from psycopg import sql

    cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)")
    there = {row[0] for row in cursor.fetchall()}
    return [sql.Identifier(name) for name in names if name in there]


def _table(config: "RepoConfig", view: "FeatureView") -> "Identifier":
    from psycopg import sql

    return sql.Identifier(_name(config, view))


def _sql(text: Any, *names: str) -> "Composed":
    from psycopg import sql

    return sql.SQL(text).format(*(sql.Identifier(name) for name in names))
