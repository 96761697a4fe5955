"""Anyone's csv or Parquet files, read through a mapping.

Columns are renamed, times brought to one notation, lists split; nothing is dropped. What cannot be read as a
time or a number stays as the text it is, for validation to quarantine under a rule's name. Columns that the mapping
does not name are staged too, and a mapped one that the file lacks is not: validation decides what that means.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import SourceConfig
from pipelines.contracts import EVENTS, ITEMS, RAW_TABLES, USERS
from pipelines.data.drift import UNTYPED
from pipelines.data.schemas import RAW_SCHEMAS
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.base import RawTables, parse_partition
from pipelines.sources.mapping import FileMapping, SourceMapping, load_mapping
from pipelines.stores.artifacts import file_digest

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 100_000
_PER_SECOND = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_FURTHEST_US = 2e17  # year 8307; beyond it DuckDB has no date for a number, so the number stays as it is
_FIRST_EVENT = "min(try_cast(event_timestamp AS TIMESTAMPTZ))"
_ISO = "%Y-%m-%dT%H:%M:%S.%fZ"


class MappedSource:
    """Files below one folder, read through a `SourceMapping`."""

    def __init__(self, folder: Path, kind: str, mapping: SourceMapping) -> None:
        self._folder, self._kind, self._mapping = folder, kind, mapping

    @classmethod
    def open(cls, config: SourceConfig) -> "MappedSource":
        """Return the source a configuration describes.

        Raises:
            ConfigError: folder or mapping is missing, or the mapping is not legal.
        """
        if config.path is None:
            raise ConfigError(f"source {config.kind!r} needs a folder; pass DATA=<folder> to make, or --data <folder>")
        return cls(config.path, config.kind, load_mapping(config.mapping))

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the mapping and the digest of every file it names."""
        files = {path.name: file_digest(path) for table in self._mapped for path in self._files(table)}
        return {"kind": self._kind, "mapping": self._mapping.model_dump(), "files": files}

    def read(self, partition: str) -> RawTables:
        """Stream the mapped tables; rows whose arrival cannot be read belong to every partition."""
        window = parse_partition(partition)
        sql = {EVENTS: self._events_sql(window), ITEMS: self._items_sql(window), USERS: self._users_sql(window)}
        return RawTables(**{table: self._stream(table, self._without_lost(table, sql[table])) for table in RAW_TABLES})

    @property
    def _mapped(self) -> list[str]:
        return [table for table in RAW_TABLES if getattr(self._mapping, table) is not None]

    @cached_property
    def _connection(self) -> "duckdb.DuckDBPyConnection":
        import duckdb

        connection = duckdb.connect(":memory:", config={"memory_limit": "1GB", "threads": 2})
        connection.execute("SET TimeZone = 'UTC'")
        for table in self._mapped:
            self._create_view(connection, table)
        return connection

    def _files(self, table: str) -> list[Path]:
        mapping: FileMapping = getattr(self._mapping, table)
        files = sorted(self._folder.glob(mapping.file)) if self._folder.is_dir() else []
        if not files:
            there = (
                f"it has {_some(p.name for p in self._folder.iterdir())}" if self._folder.is_dir() else "no such folder"
            )
            raise SourceError(f"mapping: {table}.file {mapping.file!r} matches nothing in {self._folder}; {there}")
        empty = [path.name for path in files if path.stat().st_size == 0]
        if empty:
            raise SourceError(
                f"{self._folder / empty[0]} is empty (0 bytes); expected {self._kind} with columns and rows"
            )
        return files

    def _create_view(self, connection: "duckdb.DuckDBPyConnection", table: str) -> None:
        """Make view `file_<table>` of the file's own columns, and check that the mapped ones are there."""
        import duckdb

        mapping: FileMapping = getattr(self._mapping, table)
        paths = self._files(table)
        files = "[" + ", ".join(_text(str(path)) for path in paths) + "]"
        reader = (
            f"read_parquet({files})"
            if self._kind == "parquet"
            else f"read_csv({files}, {_csv_options(paths[0], mapping)})"
        )
        try:
            connection.execute(f"CREATE VIEW file_{table} AS SELECT * FROM {reader}")
        except duckdb.Error as error:
            raise SourceError(
                f"{table} file {mapping.file!r} is not readable {self._kind}: {_first_lines(error)}"
            ) from error
        self._check_columns(table, [row[0] for row in connection.execute(f"DESCRIBE file_{table}").fetchall()])

    def _check_columns(self, table: str, there: list[str]) -> None:
        """Every mapped column must be there, but for those that the contract lets be empty."""
        mapping: FileMapping = getattr(self._mapping, table)
        named = {f"columns.{name}": column for name, column in mapping.columns.items()}
        named |= {f"attributes.{name}": column for name, column in getattr(mapping, "attributes", {}).items()}
        for key, column in named.items():
            if column not in there and key.removeprefix("columns.") not in _optional(table):
                raise ConfigError(
                    f"mapping: {table}.{key} names column {column!r}, which {mapping.file} does not have; "
                    f"it has {', '.join(there)}. Correct the mapping file"
                )

    def _column(self, table: str, name: str, default: str = "NULL::VARCHAR") -> str:
        """SQL of one mapped column, times in one notation."""
        mapping: FileMapping = getattr(self._mapping, table)
        if name not in mapping.columns or name in self._lost(table):
            return default
        column = _name(mapping.columns[name])
        if name not in ("event_timestamp", "ingested_at", "updated_at"):
            return column
        if mapping.timestamp_format:
            read = f"try_strptime({column}::VARCHAR, {_text(mapping.timestamp_format)})"
        elif mapping.timestamp_unit:
            number = f"(try_cast({column} AS DOUBLE) * {_PER_SECOND[mapping.timestamp_unit]})"
            read = f"CASE WHEN abs({number}) < {_FURTHEST_US} THEN make_timestamp(round({number})::BIGINT) END"
        else:
            return column
        return f"coalesce(strftime({read}, '{_ISO}'), {column}::VARCHAR)"

    def _there(self, table: str) -> list[str]:
        return [row[0] for row in self._connection.execute(f"DESCRIBE file_{table}").fetchall()]

    def _lost(self, table: str) -> list[str]:
        """Tandem's columns that the mapping names and the file does not have."""
        mapping: FileMapping | None = getattr(self._mapping, table)
        return [n for n, column in mapping.columns.items() if column not in self._there(table)] if mapping else []

    def _without_lost(self, table: str, sql: str) -> str:
        lost = self._lost(table)
        return f"SELECT * EXCLUDE ({', '.join(lost)}) FROM ({sql})" if lost else sql

    def _unmapped(self, table: str) -> str:
        """SQL of the file's columns that the mapping names nowhere, each after a comma."""
        mapping: FileMapping = getattr(self._mapping, table)
        named = {*mapping.columns.values(), *getattr(mapping, "attributes", {}).values(), *mapping.ignore}
        if "*" in named:
            return ""
        own = {name.lower() for name in RAW_SCHEMAS[table].names}
        others = [name for name in self._there(table) if name not in named]
        return "".join(
            f", {_name(name)} AS {_name(f'file.{name}' if name.lower() in own else name)}" for name in others
        )

    def _untyped(self, table: str) -> list[str]:
        """Tandem's columns whose staged type is our making, not the source's."""
        mapping: FileMapping | None = getattr(self._mapping, table)
        if mapping is None or self._kind == "csv":
            return list(RAW_SCHEMAS[table].names)
        notated = bool(mapping.timestamp_format or mapping.timestamp_unit)
        times = ("event_timestamp", "ingested_at", "updated_at") if notated else ()
        return [name for name in RAW_SCHEMAS[table].names if name in times or name not in mapping.columns]

    def _events_sql(self, window: tuple[datetime, datetime] | None) -> str:
        happened = self._column(EVENTS, "event_timestamp")
        user_id, item_id = self._column(EVENTS, "user_id"), self._column(EVENTS, "item_id")
        made_id = f"concat_ws('-', lpad(row::VARCHAR, 9, '0'), {user_id}, {item_id})"
        kind = self._column(EVENTS, "event_type", _text(self._mapping.events.event_type))
        rows = (
            f"SELECT {self._column(EVENTS, 'event_id', made_id)} AS event_id, {user_id} AS user_id, "
            f"{item_id} AS item_id, {kind} AS event_type, "
            f"{self._column(EVENTS, 'value', 'NULL::DOUBLE')} AS value, {happened} AS event_timestamp, "
            f"{self._column(EVENTS, 'ingested_at', happened)} AS ingested_at, "
            f"{self._column(EVENTS, 'session_id')} AS session_id, {self._column(EVENTS, 'device')} AS device"
            f"{self._unmapped(EVENTS)} FROM (SELECT row_number() OVER () AS row, * FROM file_events)"
        )
        return f"SELECT * FROM ({rows}){_between('ingested_at', window)}"

    def _items_sql(self, window: tuple[datetime, datetime] | None) -> str:
        mapping = self._mapping.items
        if mapping is None:
            empty = "NULL::VARCHAR AS text, []::VARCHAR[] AS categories"
            return self._derived("item_id", f"item_id, item_id AS title, {empty}, {_FIRST_EVENT} AS updated_at", window)
        item_id = self._column(ITEMS, "item_id")
        categories = self._column(ITEMS, "categories", "[]::VARCHAR[]")
        if "categories" in mapping.columns and not self._is_list(ITEMS, mapping.columns["categories"]):
            parts = f"string_split({categories}::VARCHAR, {_text(mapping.categories_separator)})"
            categories = f"[trim(part) for part in {parts} if trim(part) <> '']"
        rows = (
            f"SELECT {item_id} AS item_id, {self._column(ITEMS, 'title', item_id)} AS title, "
            f"{self._column(ITEMS, 'text')} AS text, {categories} AS categories, "
            f"{self._column(ITEMS, 'updated_at', self._earliest())} AS updated_at"
            f"{self._unmapped(ITEMS)} FROM file_items"
        )
        return f"SELECT * FROM ({rows}){_between('updated_at', window, from_start=False)}"

    def _users_sql(self, window: tuple[datetime, datetime] | None) -> str:
        mapping = self._mapping.users
        if mapping is None:
            return self._derived(
                "user_id", f"user_id, []::VARCHAR[] AS attributes, {_FIRST_EVENT} AS updated_at", window
            )
        named = [
            f"{_text(name + '=')} || nullif({_name(column)}::VARCHAR, '')"
            for name, column in mapping.attributes.items()
        ]
        attributes = f"[part for part in [{', '.join(named)}] if part IS NOT NULL]" if named else "[]::VARCHAR[]"
        rows = (
            f"SELECT {self._column(USERS, 'user_id')} AS user_id, {attributes} AS attributes, "
            f"{self._column(USERS, 'updated_at', self._earliest())} AS updated_at"
            f"{self._unmapped(USERS)} FROM file_users"
        )
        return f"SELECT * FROM ({rows}){_between('updated_at', window, from_start=False)}"

    def _derived(self, key: str, columns: str, window: tuple[datetime, datetime] | None) -> str:
        """Rows made of the ids in the events: each known from its first event on."""
        named = f"SELECT * FROM ({self._events_sql(None)}) WHERE coalesce({key}::VARCHAR, '') <> ''"
        rows = f"SELECT {columns} FROM ({named}) GROUP BY {key} HAVING updated_at IS NOT NULL"
        return f"SELECT * FROM ({rows}){_between('updated_at', window, from_start=False)} ORDER BY updated_at, {key}"

    def _earliest(self) -> str:
        return f"(SELECT {_FIRST_EVENT} FROM ({self._events_sql(None)}))"

    def _is_list(self, table: str, column: str) -> bool:
        found = self._connection.execute(f"DESCRIBE file_{table}").fetchall()
        return any(name == column and kind.endswith("[]") for name, kind, *_ in found)

    def _stream(self, table: str, sql: str) -> "pa.RecordBatchReader":
        import duckdb
        import pyarrow as pa

        try:
            reader = self._connection.cursor().sql(sql).to_arrow_reader(_BATCH_ROWS)
        except duckdb.Error as error:
            raise SourceError(f"{self._folder} is not readable {self._kind}: {_first_lines(error)}") from error
        schema = reader.schema.with_metadata({UNTYPED: json.dumps(self._untyped(table))})
        return pa.RecordBatchReader.from_batches(schema, self._batches(reader))

    def _batches(self, reader: "pa.RecordBatchReader") -> "Iterator[pa.RecordBatch]":
        """DuckDB parses as it streams, so a broken line shows only here."""
        import duckdb
        import pyarrow as pa

        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            told = f"{self._folder} is not readable {self._kind}: {_first_lines(error)}"
            raise SourceError(f"{told}. Nothing was staged; correct the file") from error


def _csv_options(path: Path, mapping: FileMapping) -> str:
    """Every column as text, named by the header. Nothing is guessed: a broken line is named, not worked around."""
    import csv

    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    try:
        with path.open(newline="", encoding=encoding) as stream:
            header = next(csv.reader(stream, delimiter=mapping.delimiter), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} is not {mapping.encoding} csv ({error}); set `encoding` in the mapping") from error
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(f"{path} has column {', '.join(repeated)} twice; expected each name once in its first line")
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in header)
    return (
        f"auto_detect = false, header = true, columns = {{{columns}}}, delim = {_text(mapping.delimiter)}, "
        f"quote = '\"', escape = '\"', encoding = {_text(mapping.encoding)}, strict_mode = true, null_padding = false"
    )


def _optional(table: str) -> list[str]:
    return [field.name for field in RAW_SCHEMAS[table] if field.nullable]


def _between(column: str, window: tuple[datetime, datetime] | None, *, from_start: bool = True) -> str:
    if window is None:
        return ""
    moment = f"try_cast({column} AS TIMESTAMPTZ)"
    low = f" AND {moment} >= TIMESTAMPTZ '{window[0].isoformat()}'" if from_start else ""
    return f" WHERE {moment} IS NULL OR ({moment} < TIMESTAMPTZ '{window[1].isoformat()}'{low})"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _first_lines(error: Exception) -> str:
    """DuckDB's parse errors end in a page of hints; where and what is at the top."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])


def _some(names: Iterator[str]) -> str:
    return ", ".join(sorted(names)[:12]) or "nothing"
