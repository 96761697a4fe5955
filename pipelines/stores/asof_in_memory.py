"""Point-in-time joins whose rows fit into memory: read by DuckDB, matched in NumPy, several times faster than `ASOF`.

The rows that labels may see are those of `asof_join`, to which a join that does not fit is left.
"""
# ruff: noqa: S608 - every identifier in the queries is quoted

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ByteSize, TypeAdapter

from pipelines.stores import asof_join
from pipelines.stores.asof_join import AT, BATCH_ROWS, KEY, NUMBERED, ROW, VALID_FROM, JoinView, both_sides, key_numbers
from pipelines.stores.asof_match import NONE, Numbers, Ties, newest_rows

SHARE_OF_BUDGET = 0.3  # for each side
SORTING_BYTES = 96  # a row, while it is matched
READ_ROWS = 131_072
# A label without a key gets one that no row has; one without a time is before all rows.
LABELS = f"SELECT coalesce({KEY}, 0)::BIGINT AS {KEY}, coalesce({AT}, {-(2**62)}) AS {AT}, {ROW} FROM label"
ROWS = f"SELECT * REPLACE ({KEY}::BIGINT AS {KEY}) FROM hit WHERE {AT} IS NOT NULL"


class TooLarge(Exception):
    """The rows of a join do not fit into what it may hold."""


def read_view(connection: Any, beside: Any, labels: str, view: JoinView) -> pa.RecordBatchReader:
    """Return what `asof_join.read_view` does, in memory if labels and feature rows need little of DuckDB's budget."""
    (limit,) = connection.sql("SELECT current_setting('memory_limit')").fetchall()[0]
    budget = int(SHARE_OF_BUDGET * TypeAdapter(ByteSize).validate_python(limit))
    if (matched := _matched(connection, beside, labels, view, budget)) is None:
        return asof_join.read_view(connection, beside, labels, view)
    features, newest = matched
    return pa.RecordBatchReader.from_batches(features.schema, _in_batches(features, newest))


def _matched(connection: Any, beside: Any, labels: str, view: JoinView, budget: int) -> tuple[pa.Table, Numbers] | None:
    """Return feature rows, and for each label, in their order, the position of its own among them; None: too many."""
    counts = f"SELECT (SELECT count(*) FROM {labels}), (SELECT count(*) FROM {view.relation})"
    if max(connection.sql(counts).fetchall()[0]) * SORTING_BYTES > budget:
        return None
    # No temporary table: that would be seen by its own connection only.
    connection.execute(f"CREATE OR REPLACE TABLE {NUMBERED} AS {key_numbers(labels, view)}")
    try:
        asked, rows, newest = _newest_rows(connection, beside, labels, view, budget)
    except TooLarge:
        return None
    finally:
        connection.execute(f"DROP TABLE {NUMBERED}")
    if view.ttl:
        found = np.flatnonzero(newest != NONE)
        age = _number(asked, AT)[found] - _number(rows, VALID_FROM)[newest[found]]
        newest[found[age > view.ttl // timedelta(microseconds=1)]] = NONE
    in_order = np.empty_like(newest)
    in_order[_number(asked, ROW)] = newest
    return rows.select(list(view.features.values())).combine_chunks(), in_order


def _newest_rows(
    connection: Any, beside: Any, labels: str, view: JoinView, budget: int
) -> tuple[pa.Table, pa.Table, Numbers]:
    """Return labels, feature rows, and for each label the position of the newest row that it may see, at any age."""
    with ThreadPoolExecutor(1, thread_name_prefix="labels") as thread:
        reading = thread.submit(_read, connection, f"WITH {both_sides(labels, view, ties=False)} {LABELS}", budget)
        rows = _read(beside, f"WITH {both_sides(labels, view, ties=False)} {ROWS}", budget)
        asked = reading.result()
    try:
        return asked, rows, _newest(rows, asked)
    except Ties:
        rows = _read(beside, f"WITH {both_sides(labels, view, ties=True)} {ROWS}", budget)
        return asked, rows, _newest(rows, asked)


def _newest(rows: pa.Table, asked: pa.Table) -> Numbers:
    return newest_rows(_number(rows, KEY), _number(rows, AT), _number(asked, KEY), _number(asked, AT))


def _in_batches(features: pa.Table, newest: Numbers) -> Iterator[pa.RecordBatch]:
    """The labels' features; one row that many labels see is in one batch at a time only."""
    for start in range(0, len(newest), BATCH_ROWS):
        part = newest[start : start + BATCH_ROWS]
        yield from features.take(pa.array(part, mask=part == NONE)).to_batches()


def _read(connection: Any, query: str, budget: int) -> pa.Table:
    reader = connection.sql(query).to_arrow_reader(READ_ROWS)
    batches = []
    for batch in reader:
        batches.append(batch)
        budget -= _size(batch)
        if budget < 0:
            reader.close()
            raise TooLarge
    return pa.Table.from_batches(batches, reader.schema)


def _size(rows: pa.Table | pa.RecordBatch) -> int:
    size: int = rows.nbytes + SORTING_BYTES * rows.num_rows
    return size


def _number(rows: pa.Table, name: str) -> Numbers:
    numbers: Numbers = rows[name].to_numpy()
    return numbers
