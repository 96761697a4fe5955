"""Arrow schemas of the lake's raw tables.

Times are microseconds UTC everywhere: DuckDB, Delta and Feast agree on nothing finer.
"""

import pyarrow as pa

from pipelines.contracts import EVENTS, ITEMS, QUARANTINE, USERS

TIMESTAMP = pa.timestamp("us", tz="UTC")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


EVENTS_SCHEMA = pa.schema(
    [
        _required("event_id", pa.string()),
        _required("user_id", pa.string()),
        _required("item_id", pa.string()),
        _required("event_type", pa.string()),
        pa.field("value", pa.float64()),
        _required("event_timestamp", TIMESTAMP),
        _required("ingested_at", TIMESTAMP),
        pa.field("session_id", pa.string()),
        pa.field("device", pa.string()),
    ]
)
ITEMS_SCHEMA = pa.schema(
    [
        _required("item_id", pa.string()),
        _required("title", pa.string()),
        pa.field("text", pa.string()),
        pa.field("categories", pa.list_(pa.string())),
        _required("updated_at", TIMESTAMP),
    ]
)
USERS_SCHEMA = pa.schema(
    [
        _required("user_id", pa.string()),
        pa.field("attributes", pa.list_(pa.string())),
        _required("updated_at", TIMESTAMP),
    ]
)
RAW_SCHEMAS = {EVENTS: EVENTS_SCHEMA, ITEMS: ITEMS_SCHEMA, USERS: USERS_SCHEMA}
"""What a source delivers and validation accepts, a table."""

QUARANTINE_SCHEMA = pa.schema(
    [
        _required("table", pa.string()),
        _required("rule", pa.string()),
        _required("raw_row", pa.string()),
        _required("partition", pa.string()),
        _required("quarantined_at", TIMESTAMP),
    ]
)


def _stored(schema: pa.Schema) -> pa.Schema:
    """Every column nullable: Delta's readers and DuckDB disagree about NOT NULL, validation already saw to it."""
    return pa.schema([field.with_nullable(True) for field in schema])


LAKE_SCHEMAS = {
    EVENTS: _stored(EVENTS_SCHEMA).append(pa.field("source_partition", pa.string())),
    ITEMS: _stored(ITEMS_SCHEMA),
    USERS: _stored(USERS_SCHEMA),
    QUARANTINE: _stored(QUARANTINE_SCHEMA),
}
"""What the lake stores: events also say which partition brought them."""
