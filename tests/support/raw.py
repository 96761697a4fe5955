"""Tiny raw partitions, staged as a source would stage them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import EVENTS, ITEMS, RAW_TABLES, USERS, RawPartition
from pipelines.data.schemas import RAW_SCHEMAS

START = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = datetime(2025, 2, 1, tzinfo=UTC)


def event(number: int, **changes: Any) -> dict[str, Any]:
    """A legal event row, different for each number."""
    moment = START + timedelta(minutes=number)
    row = {
        "event_id": f"e{number:05d}",
        "user_id": f"u{number % 3}",
        "item_id": f"i{number % 4}",
        "event_type": "rating",
        "value": float(number % 5 + 1),
        "event_timestamp": moment,
        "ingested_at": moment + timedelta(seconds=1),
        "session_id": None,
        "device": "mobile",
    }
    return row | changes


def item(number: int, **changes: Any) -> dict[str, Any]:
    """A legal item row."""
    row = {"item_id": f"i{number}", "title": f"Item {number}", "text": None, "categories": ["A"], "updated_at": START}
    return row | changes


def user(number: int, **changes: Any) -> dict[str, Any]:
    """A legal user row."""
    return {"user_id": f"u{number}", "attributes": ["country=FR"], "updated_at": START} | changes


def tables(num_events: int = 40, *, first: int = 0) -> dict[str, pa.Table]:
    """A legal partition: events of 3 users about 4 items."""
    rows = {
        EVENTS: [event(number) for number in range(first, first + num_events)],
        ITEMS: [item(number) for number in range(4)],
        USERS: [user(number) for number in range(3)],
    }
    return {table: pa.Table.from_pylist(rows[table], schema=RAW_SCHEMAS[table]) for table in RAW_TABLES}


def with_events(rows: list[dict[str, Any]], *, num_good: int = 40) -> dict[str, pa.Table]:
    """A legal partition with `rows` after its good events."""
    partition = tables(num_good)
    # Raw data may miss what the contract asks for.
    schema = pa.schema([field.with_nullable(True) for field in RAW_SCHEMAS[EVENTS]])
    partition[EVENTS] = pa.concat_tables([partition[EVENTS].cast(schema), pa.Table.from_pylist(rows, schema=schema)])
    return partition


def as_text(table: pa.Table) -> pa.Table:
    """The table as a csv source stages it: everything but lists is text."""
    columns = [
        table[field.name] if pa.types.is_list(field.type) else table[field.name].cast(pa.string())
        for field in table.schema
    ]
    return pa.table(columns, names=table.schema.names)


def stage(
    folder: Path, partition: dict[str, pa.Table], *, name: str = "all", key: str = "00000000000000a1"
) -> RawPartition:
    """Write a partition as `read_partition` publishes it; `key` stands for its content."""
    target = folder / key
    target.mkdir(parents=True)
    for table, rows in partition.items():
        pq.write_table(rows, target / f"{table}.parquet")
    num_rows = {table: rows.num_rows for table, rows in partition.items()}
    return RawPartition(dataset="tiny", partition=name, uri=str(target), num_rows=num_rows)
