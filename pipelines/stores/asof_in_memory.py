"""Point-in-time joins whose rows fit into memory: read by DuckDB, matched in NumPy, several times faster than `ASOF`.

The rows that labels may see are those of `asof_join`, to which a join that does not fit is left.
"""
# ruff: noqa: S608 - every identifier in the queries is quoted

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ByteSize, TypeAdapter

from pipelines.stores import asof_join
from pipelines.stores.asof_join import AT, BATCH_ROWS, KEY, NUMBERED, ROW, VALID_FROM, JoinView, both_sides, key_numbers
from pipelines.stores.asof_match import NONE, Numbers, Ties, newest_rows

SHARE_OF_BUDGET = 0.5
SORTING_BYTES = 96  # a row, while it is matched
READ_ROWS = 131_072
BEFORE_ALL = -(2**62)


class TooLarge(Exception):
    """The rows of a join do not fit into what it may hold."""


def read_view(connection: Any, beside: Any, labels: str, view: JoinView) -> pa.RecordBatchReader:
    """Return what `asof_join.read_view` does: in memory where the rows need less than half of DuckDB's budget."""
    (limit,) = connection.sql("SELECT current_setting('memory_limit')").fetchall()[0]
    budget = int(SHARE_OF_BUDGET * TypeAdapter(ByteSize).validate_python(limit))
    try:
        features, newest = _matched(connection, labels, view, budget)
    except TooLarge:
        return asof_join.read_view(connection, beside, labels, view)
    return pa.RecordBatchReader.from_batches(features.schema, _in_batches(features, newest))


def _matched(connection: Any, labels: str, view: JoinView, budget: int) -> tuple[pa.Table, Numbers]:
    """Return feature rows, and for each label, in their order, the position of its own among them."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {NUMBERED} AS {key_numbers(labels, view)}")
    asked = _read(connection, f"WITH {both_sides(labels, view, ties=False)} SELECT * FROM label", budget)
    budget -= _size(asked)
    try:
        rows, newest = _newest(connection, labels, asked, view, budget, ties=False)
    except Ties:
        rows, newest = _newest(connection, labels, asked, view, budget, ties=True)
    if view.ttl:
        found = np.flatnonzero(newest != NONE)
        age = _numbers(asked, AT)[found] - _numbers(rows, VALID_FROM)[newest[found]]
        newest[found[age > view.ttl // timedelta(microseconds=1)]] = NONE
    in_order = np.empty_like(newest)
    in_order[_numbers(asked, ROW)] = newest
    return rows.select(list(view.features.values())).combine_chunks(), in_order


def _in_batches(features: pa.Table, newest: Numbers) -> Iterator[pa.RecordBatch]:
    """The labels' features; one row that many labels see is in one batch at a time only."""
    for start in range(0, len(newest), BATCH_ROWS):
        part = newest[start : start + BATCH_ROWS]
        yield from features.take(pa.array(part, mask=part == NONE)).to_batches()


def _newest(
    connection: Any, labels: str, asked: pa.Table, view: JoinView, budget: int, *, ties: bool
) -> tuple[pa.Table, Numbers]:
    """Return the rows that labels may see, and for each label the position of the newest among them."""
    visible = f"WITH {both_sides(labels, view, ties=ties)} SELECT * FROM hit WHERE {AT} IS NOT NULL"
    rows = _read(connection, visible, budget)
    numbers = [_numbers(table, name) for table in (rows, asked) for name in (KEY, AT)]
    return rows, newest_rows(*numbers)


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
    return int(rows.nbytes) + SORTING_BYTES * rows.num_rows


def _numbers(rows: pa.Table, name: str) -> Numbers:
    """A column as numbers; a label without a key has one that no row has, one without a time is before all rows."""
    column = rows[name].cast(pa.int64()).fill_null(0 if name == KEY else BEFORE_ALL)
    numbers: Numbers = column.to_numpy()
    return numbers
