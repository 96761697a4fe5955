"""Point-in-time joins in DuckDB: for each label, the newest feature row its moment could have known.

Feast's own DuckDB store joins a label with every earlier row of its key and then keeps the newest. An `ASOF` join
merges both sides once. Times are compared as whole microseconds since 1970, whatever type the columns have: finer
ones are rounded down for labels and up for features, so that no label sees a row from its future.
"""
# ruff: noqa: S608 - every identifier in the queries is quoted, every value is a number

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.stores.read_ahead import ahead

ROW = "__row"
KEY = "__key"
AT = "__at"
VALID_FROM = "__valid_from"
NUMBERED = "__numbered"
BATCH_ROWS = 4_096  # a few batches of each view are held beside the budget


@dataclass(frozen=True)
class JoinView:
    """One feature view of a join.

    Attributes:
        relation: name of the DuckDB relation that holds its rows, quoted.
        join_keys: column of the feature rows -> column of the labels.
        features: column of the feature rows -> name in the result, in order.
        timestamp: column with the moment a row became valid.
        created: column with the moment a row arrived, or None.
        ttl: how long a row is valid; None or zero is forever.
        by_arrival: whether a row also must have arrived by the label's time to be seen; needs `created`.
        tie_columns: columns of the feature rows that decide between rows of equal key, time and arrival. Those of
            `features` where empty, but then another choice of features may choose another row.
    """

    relation: str
    join_keys: Mapping[str, str]
    features: Mapping[str, str]
    timestamp: str
    created: str | None = None
    ttl: timedelta | None = None
    by_arrival: bool = False
    tie_columns: Sequence[str] = ()

    @property
    def in_order_of_arrival(self) -> bool:
        """Whether rows are seen from when they were both valid and there."""
        return self.by_arrival and self.created is not None


def connect(*, memory_limit: str, threads: int, temp_directory: str) -> Any:
    """Return an in-process DuckDB connection that spills below `temp_directory` above `memory_limit`.

    It has a folder of its own there, removed with the connection: two of them would overwrite each other's files.
    """
    import duckdb  # here: serving loads this module by way of Feast, and its environment has no DuckDB

    if temp_directory:
        Path(temp_directory).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="join-", dir=temp_directory or None)
    connection = duckdb.connect(config={"memory_limit": memory_limit, "threads": threads, "temp_directory": folder})
    weakref.finalize(connection, shutil.rmtree, folder, ignore_errors=True)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def quote(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def microseconds(column: str, kind: str, *, up: bool) -> str:
    """Return SQL for a time as whole microseconds since 1970; `kind` is the column's DuckDB type.

    `epoch_us` rounds nanoseconds to the nearest microsecond, which may lie ahead.
    """
    if not kind.endswith("_NS"):
        return f"epoch_us({quote(column)})"
    sign = "-" if up else ""
    nanoseconds = f"({sign}epoch_ns({quote(column)}))"
    return f"{sign}(({nanoseconds} - (({nanoseconds} % 1000) + 1000) % 1000) // 1000)"


def join_view(connection: Any, labels: str, view: JoinView) -> Any:
    """Return the features of `view` for every row of `labels`, in the order of `__row`, as a DuckDB relation.

    A label without a key, a time or a matching row gets nulls.

    Args:
        connection: DuckDB connection.
        labels: relation with `__row` (int64, position), `__at` (int64, microseconds since 1970) and the view's
            label keys.
        view: what is joined.
    """
    return _joined(connection, labels, view, ties=_has_ties(connection, view))


def read_view(connection: Any, beside: Any, labels: str, view: JoinView) -> pa.RecordBatchReader:
    """Return what `join_view` does, in batches, sooner.

    Few tables have rows that tie, so the join begins as if none did while another thread looks for some. If there are
    any, what was begun is ended, and the join is made with them in mind.

    Args:
        connection: DuckDB connection, as for `join_view`.
        beside: another one to the same database, on which the view's relation has the same name.
        labels: as for `join_view`.
        view: what is joined.
    """
    from duckdb import InterruptException

    def look() -> bool:
        if found := _has_ties(beside, view):
            connection.interrupt()
        return found

    with ThreadPoolExecutor(1, thread_name_prefix="ties") as thread:
        looking = thread.submit(look)
        try:
            reader = _joined(connection, labels, view, ties=False).to_arrow_reader(BATCH_ROWS)
        except InterruptException:
            pass
        else:
            if not looking.result():
                return reader
            reader.close()  # a connection has one result at a time
            del reader
    return _joined(connection, labels, view, ties=looking.result()).to_arrow_reader(BATCH_ROWS)


def _joined(connection: Any, labels: str, view: JoinView, *, ties: bool) -> Any:
    return connection.sql(f"""
        WITH {NUMBERED} AS MATERIALIZED ({key_numbers(labels, view)}), {both_sides(labels, view, ties=ties)}
        SELECT {_result_columns(view)}
        FROM label ASOF LEFT JOIN hit ON label.{KEY} = hit.{KEY} AND label.{AT} >= hit.{AT}
        ORDER BY label.{ROW}
    """)


def key_numbers(labels: str, view: JoinView) -> str:
    """Return SQL for the distinct keys that `labels` ask for, each with a number from 1 on, `__key`.

    Sorting is what a join costs, and numbers sort several times faster than text or a pair of columns.
    """
    names = _list(view.join_keys)
    distinct = f"SELECT DISTINCT {names} FROM ({_asked(labels, view)})"
    return f"SELECT *, CAST(row_number() OVER () AS UINTEGER) AS {KEY} FROM ({distinct})"


def both_sides(labels: str, view: JoinView, *, ties: bool) -> str:
    """Return SQL that names the two sides of a join, `label` and `hit`, both with `__key` and `__at`.

    A `hit` is a feature row from the moment on from which labels see it; of those with equal key and moment there is
    one, unless rows tie and `ties` is false. Rows of keys that no label asks for are left out before any sorting.
    The relation `NUMBERED` has to hold the rows of `key_numbers`.
    """
    names = _list(view.join_keys)
    # Named first: a subquery within FROM could see the labels' columns and would take `__at` for theirs.
    return f"""
        asked AS ({_asked(labels, view)}),
        label AS (SELECT {KEY}, {AT}, {ROW} FROM asked LEFT JOIN {NUMBERED} USING ({names})),
        feature AS (SELECT * FROM {view.relation} JOIN {NUMBERED} USING ({names})),
        hit AS ({_visible_rows(view, ties=ties)})
    """


def _asked(labels: str, view: JoinView) -> str:
    labelled = ", ".join(f"{quote(label)} AS {quote(key)}" for key, label in view.join_keys.items())
    return f"SELECT {labelled}, {AT}, {ROW} FROM {labels}"


def spill_folder(connection: Any) -> Path:
    """Return the folder of a connection made by `connect`; it ends with the connection."""
    return Path(connection.sql("SELECT current_setting('temp_directory')").fetchall()[0][0])


def spooled(reader: pa.RecordBatchReader, file: Path) -> pa.RecordBatchReader:
    """Write batches to a file and return them from there.

    A result that is only begun holds memory of DuckDB's budget; a file does not.
    """
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, reader.schema, options=options) as writer:
        for batch in reader:
            writer.write_batch(batch)
    return pa.ipc.open_stream(pa.OSFile(str(file), "rb"))


def side_by_side(readers: Sequence[pa.RecordBatchReader]) -> pa.RecordBatchReader:
    """Return the columns of all readers as one, row by row; holds no more than a few batches of each.

    Raises:
        ValueError: while reading, if the readers do not have equally many rows.
    """
    schema = pa.schema([field for reader in readers for field in reader.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for parts in zip(*(ahead(_rechunked(reader)) for reader in readers), strict=True):
            columns = [column for part in parts for column in part.columns]
            yield from pa.Table.from_arrays(columns, schema=schema).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _rechunked(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Rows in tables of `BATCH_ROWS`, the last one shorter."""
    held = reader.schema.empty_table()
    for batch in reader:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= BATCH_ROWS:
            yield held.slice(0, BATCH_ROWS)
            held = held.slice(BATCH_ROWS)
    if held.num_rows:
        yield held


def latest_rows(
    relation: str, keys: Sequence[str], columns: Sequence[str], timestamp: str, created: str | None, *, window: str
) -> str:
    """Return SQL for the newest row of each key within a window; ties fall as in `join_view`.

    Args:
        relation: relation with the rows, quoted.
        keys: columns of the join key.
        columns: columns of the result.
        timestamp: column that decides what is newest.
        created: column that breaks ties, or None.
        window: SQL condition on the rows.
    """
    names, key_names, moment = _list(columns), _list(keys), quote(timestamp)
    same_key = [f"{relation}.{quote(key)} IS NOT DISTINCT FROM newest.{quote(key)}" for key in keys]
    # Finding each key's newest time first keeps wide columns out of the ordering.
    return f"""
        WITH newest AS (SELECT {key_names}, max({moment}) AS at FROM {relation} WHERE {window} GROUP BY {key_names})
        SELECT {names} FROM {relation} SEMI JOIN newest
        ON {" AND ".join([*same_key, f"{relation}.{moment} = newest.at"])}
        QUALIFY row_number() OVER (PARTITION BY {key_names} ORDER BY {_tie_order(created, columns)}) = 1
    """


def _result_columns(view: JoinView) -> str:
    names = [quote(name) for name in view.features.values()]
    if not view.ttl:
        return ", ".join(f"hit.{name}" for name in names)
    valid = f"label.{AT} - hit.{VALID_FROM} <= {view.ttl // timedelta(microseconds=1)}"
    return ", ".join(f"CASE WHEN {valid} THEN hit.{name} END AS {name}" for name in names)


def _visible_rows(view: JoinView, *, ties: bool) -> str:
    """SQL for the rows of `feature`, at most one for a `__key` and `__at`, the moment from which labels see it."""
    features = [f"{quote(column)} AS {quote(name)}" for column, name in view.features.items()]
    valid_from = f"epoch_us({quote(view.timestamp)})"
    if view.in_order_of_arrival:
        return _rows_by_arrival(view, features, valid_from)
    selected = [KEY, *features, f"{valid_from} AS {AT}", f"{valid_from} AS {VALID_FROM}"]
    rows = f"SELECT {', '.join(selected)} FROM feature"
    if ties:
        order = _tie_order(view.created, view.tie_columns or list(view.features))
        rows += f" QUALIFY row_number() OVER (PARTITION BY {KEY}, {valid_from} ORDER BY {order}) = 1"
    return rows


def _rows_by_arrival(view: JoinView, features: Sequence[str], valid_from: str) -> str:
    """Rows seen from when they were both valid and there.

    One that arrives when a newer one is already there is never the newest: only rows that set a record are kept.
    """
    arrived = f"epoch_us({quote(str(view.created))})"
    ties = _tie_order(view.created, view.tie_columns or list(view.features))
    selected = [KEY, *features, f"greatest({valid_from}, {arrived}) AS {AT}", f"{valid_from} AS {VALID_FROM}"]
    return f"""
        SELECT {", ".join(selected)} FROM feature WHERE {arrived} IS NOT NULL
        QUALIFY {VALID_FROM} >= max({VALID_FROM}) OVER (
            PARTITION BY {KEY} ORDER BY {AT}, {VALID_FROM} ROWS UNBOUNDED PRECEDING
        ) AND row_number() OVER (PARTITION BY {KEY}, {AT} ORDER BY {VALID_FROM} DESC, {ties}) = 1
    """


def _has_ties(connection: Any, view: JoinView) -> bool:
    """Whether two rows share key and time; finding that out is far cheaper than ordering rows that do not.

    Two digests that happen to be equal cost time and change nothing.
    """
    if view.in_order_of_arrival:
        return False  # none that its own order does not decide
    digests = f"SELECT DISTINCT hash({_list(view.join_keys)}, epoch_us({quote(view.timestamp)})) FROM {view.relation}"
    query = f"SELECT (SELECT count(*) FROM {view.relation}) <> (SELECT count(*) FROM ({digests}))"
    return bool(connection.sql(query).fetchall()[0][0])


def _tie_order(created: str | None, columns: Sequence[str]) -> str:
    """Newest arrival first; then by content, so that the choice never depends on file order."""
    names = [created, *columns] if created else columns
    return ", ".join(f"{quote(name)} DESC NULLS LAST" for name in dict.fromkeys(names))


def _list(names: Sequence[str] | Mapping[str, str]) -> str:
    return ", ".join(quote(name) for name in names)
