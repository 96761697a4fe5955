"""Raw staged files as prepared DuckDB tables: typed columns, and a boolean for each rule that needs context.

Conversion never fails and never drops: text that is no number or no time becomes null, and the rule that minds
names the row. Whether a whole column has a type that cannot be converted is found before, from the file's schema.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.contracts import EVENTS, ITEMS, USERS
from pipelines.data.lake import Lake
from pipelines.errors import SourceError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SQL_TYPES = {"string": "VARCHAR", "double": "DOUBLE", "timestamp[us, tz=UTC]": "TIMESTAMPTZ"}
KEYS = {EVENTS: ("event_id",), ITEMS: ("item_id", "updated_at"), USERS: ("user_id", "updated_at")}


def connect(scratch: Path) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB connection that reads naive times as UTC and spills below `scratch`."""
    import duckdb

    config = {"memory_limit": "1GB", "threads": 2, "temp_directory": str(scratch)}
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")  # not in config: the extension that knows time zones loads after it
    return connection


def quote(text: str | Path) -> str:
    """Return `text` as a SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def read_schema(path: Path) -> "pa.Schema":
    """Return the schema of a staged file.

    Raises:
        SourceError: the file is missing or is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} is not readable Parquet ({error}); run `tandem read-partition` again") from error


def schema_problems(actual: "pa.Schema", expected: "pa.Schema", *, aside: Collection[str] = ()) -> list[str]:
    """Return, for a person, which required columns are missing and which have a type that cannot be converted.

    Columns of `aside` need no convertible type: their rows are set aside.
    """
    problems = []
    for column in expected:
        if column.name not in actual.names:
            if not column.nullable:
                problems.append(f"column `{column.name}` is missing (there: {', '.join(actual.names) or 'none'})")
        elif column.name not in aside and not _convertible(found := actual.field(column.name).type, column.type):
            problems.append(f"column `{column.name}` has type {found}, which cannot be converted to {column.type}")
    return problems


def _convertible(found: Any, wanted: Any) -> bool:
    import pyarrow.types as t

    found = found.value_type if t.is_dictionary(found) else found
    text = t.is_string(found) or t.is_large_string(found)
    if t.is_list(wanted):
        legal = t.is_list(found) or t.is_large_list(found)
    elif t.is_string(wanted):
        legal = text or t.is_integer(found)
    elif t.is_timestamp(wanted):
        legal = text or t.is_timestamp(found) or t.is_date(found)
    else:
        legal = text or t.is_integer(found) or t.is_floating(found) or t.is_decimal(found)
    return bool(legal or t.is_null(found))


def prepare(
    connection: "duckdb.DuckDBPyConnection",
    table: str,
    path: Path,
    expected: "pa.Schema",
    *,
    flags: str = "",
    aside: Collection[str] = (),
) -> None:
    """Create table `prepared_<table>` from a staged file: `row`, the typed columns, and the context flags.

    Args:
        connection: where the table is made.
        table: `events`, `items` or `users`.
        path: the staged file.
        expected: the contract's columns.
        flags: SQL of further boolean columns over the staged ones, each after a comma.
        aside: columns that are not converted, as rows that have them are set aside.
    """
    actual = read_schema(path)
    taken = actual.empty_table().drop_columns(list(aside)).schema
    columns = ", ".join(f"{_typed(field, taken)} AS {field.name}" for field in expected)
    extra = f", {_unreadable(taken)} AS value_is_unreadable" if table == EVENTS else ""
    extra += flags
    source = f"read_parquet({quote(path)}, file_row_number = true)"
    connection.execute(
        f"CREATE TEMP VIEW typed_{table} AS SELECT file_row_number AS row, {columns}{extra} FROM {source}"
    )
    keys = ", ".join(KEYS[table])
    missing = " OR ".join(f"{key} IS NULL" for key in KEYS[table])
    repeat = f"(row_number() OVER (PARTITION BY {keys} ORDER BY row) > 1 AND NOT ({missing}))"
    flags = f"{repeat} AS is_repeat"
    if table == EVENTS:
        repeat = f"({repeat} OR coalesce(event_id IN (SELECT event_id FROM lake_event_ids), false))"
        flags = (
            f"{repeat} AS is_repeat, "
            "(item_id IS NOT NULL AND item_id NOT IN (SELECT item_id FROM known_items)) AS item_is_unknown, "
            "(user_id IS NOT NULL AND user_id NOT IN (SELECT user_id FROM known_users)) AS user_is_unknown"
        )
    connection.execute(f"CREATE TEMP TABLE prepared_{table} AS SELECT *, {flags} FROM typed_{table}")


def _typed(field: "pa.Field", actual: "pa.Schema") -> str:
    import pyarrow.types as t

    sql = _SQL_TYPES.get(str(field.type), "VARCHAR[]")
    if field.name not in actual.names:
        return "[]::VARCHAR[]" if t.is_list(field.type) else f"NULL::{sql}"
    if t.is_list(field.type):
        return f"coalesce({field.name}::VARCHAR[], [])"
    if t.is_string(field.type):
        return f"nullif({field.name}::VARCHAR, '')"
    converted = f"try_cast({field.name} AS {sql})"
    # Parquet and text can both carry NaN and infinity; neither is a number anyone meant.
    return f"CASE WHEN isfinite({converted}) THEN {converted} END"


def _unreadable(actual: "pa.Schema") -> str:
    import pyarrow.types as t

    if "value" not in actual.names:
        return "false"
    kind = actual.field("value").type
    empty = "coalesce(value::VARCHAR, '') = ''" if t.is_string(kind) or t.is_large_string(kind) else "value IS NULL"
    number = "try_cast(value AS DOUBLE)"
    return f"(NOT ({empty}) AND ({number} IS NULL OR NOT isfinite({number})))"


def register_lake(connection: "duckdb.DuckDBPyConnection", lake: Lake, partition: str) -> dict[str, int]:
    """Create views of what the lake has from other partitions, and return the versions they read.

    The partition's own rows are left out: ingesting it again must find the same duplicates as the first time.
    """
    versions = lake.versions()
    if EVENTS in versions:
        connection.register("lake_all_events", lake.dataset(EVENTS, version=versions[EVENTS]))
        body = f"SELECT * FROM lake_all_events WHERE source_partition <> {quote(partition)}"
    else:
        body = "SELECT NULL::VARCHAR AS event_id, NULL::DOUBLE AS value, NULL::TIMESTAMPTZ AS ingested_at WHERE false"
    connection.execute(f"CREATE TEMP VIEW lake_events AS {body}")
    connection.execute("CREATE TEMP TABLE lake_event_ids AS SELECT event_id FROM lake_events")
    for table, key in ((ITEMS, "item_id"), (USERS, "user_id")):
        if table in versions:
            connection.register(f"lake_{table}", lake.dataset(table, version=versions[table]))
            body = f"SELECT DISTINCT {key} FROM lake_{table}"
        else:
            body = f"SELECT NULL::VARCHAR AS {key} WHERE false"
        connection.execute(f"CREATE TEMP TABLE known_{table} AS {body}")
    return versions
