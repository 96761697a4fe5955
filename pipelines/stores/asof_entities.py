"""The rows that the as-of offline store joins features to: a pandas frame, an Arrow table, or SQL."""
# ruff: noqa: S608 - every identifier in the queries is quoted; an SQL query for the rows is the caller's own

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_join import AT, BATCH_ROWS, ROW, microseconds, quote

RELATION = "entity_rows"
DEFAULT_TIMESTAMP = "event_timestamp"


class EntityRows:
    """Rows with keys and a time, in their order.

    Args:
        connection: DuckDB connection, where rows given as SQL are kept; they spill to its folder.
        rows: a pandas frame, an Arrow table, or a DuckDB query. Times without a zone are UTC; a frame may hold them as
            text.

    Raises:
        FeatureStoreError: no column, or more than one, could be the rows' time.
    """

    def __init__(self, connection: Any, rows: Any) -> None:
        self._table: pa.Table | None = None
        if isinstance(rows, str):
            # Kept, not queried again for each view: a query need not give its rows in the same order twice.
            connection.execute(f"CREATE TABLE {RELATION} AS SELECT *, row_number() OVER () - 1 AS {ROW} FROM ({rows})")
            self.schema = connection.sql(f"SELECT * EXCLUDE ({ROW}) FROM {RELATION} LIMIT 0").to_arrow_table().schema
        else:
            self._table = rows if isinstance(rows, pa.Table) else from_frame(rows)
            self.schema = self._table.schema
        self.timestamp = timestamp_column(self.schema)

    def reader(self, connection: Any) -> pa.RecordBatchReader:
        """Return the rows, with all their columns, in their order."""
        if self._table is not None:
            return self._table.to_reader(BATCH_ROWS)
        return connection.sql(f"SELECT * EXCLUDE ({ROW}) FROM {RELATION}").to_arrow_reader(BATCH_ROWS)

    def labels(self, connection: Any, keys: Sequence[str]) -> str:
        """Return a relation with `keys`, `__at` and `__row`, as `asof_join.join_view` wants it.

        Raises:
            FeatureStoreError: the rows lack a key.
        """
        require_keys(keys, self.schema)
        if self._table is not None:
            slim = self._table.select(list(dict.fromkeys([*keys, self.timestamp])))
            connection.register(RELATION, slim.append_column(ROW, pa.array(np.arange(slim.num_rows))))
        (kind,) = connection.sql(f"SELECT {quote(self.timestamp)} FROM {RELATION} LIMIT 0").types
        moment = f"{microseconds(self.timestamp, str(kind), up=False)} AS {AT}"
        return f"(SELECT {', '.join([*map(quote, keys), moment, ROW])} FROM {RELATION})"

    def time_range(self, connection: Any) -> tuple[datetime | None, datetime | None]:
        """Return the earliest and the latest time."""
        labels = self.labels(connection, [])
        bounds = connection.sql(f"SELECT make_timestamptz(min({AT})), make_timestamptz(max({AT})) FROM {labels}")
        earliest, latest = bounds.to_arrow_table().to_pydict().values()
        return earliest[0], latest[0]


def timestamp_column(schema: pa.Schema) -> str:
    """Return the column with the rows' times: `event_timestamp`, or the only timestamp there is.

    Raises:
        FeatureStoreError: there is none, or more than one that could be meant.
    """
    moments = [field.name for field in schema if pa.types.is_temporal(field.type)]
    if DEFAULT_TIMESTAMP in moments:
        return DEFAULT_TIMESTAMP
    if len(moments) != 1 or DEFAULT_TIMESTAMP in schema.names:
        raise FeatureStoreError(
            f"entity rows have timestamp columns {moments}; expected `{DEFAULT_TIMESTAMP}`, or exactly one. "
            "Rename the column with the labels' times, and give it a timestamp type"
        )
    return str(moments[0])


def require_keys(keys: Sequence[str], schema: pa.Schema) -> None:
    """Check that rows have the keys they are to be joined by.

    Raises:
        FeatureStoreError: they lack one.
    """
    missing = [key for key in keys if key not in schema.names]
    if missing:
        raise FeatureStoreError(
            f"entity rows lack join keys {missing}; expected them beside {schema.names}. Add the columns"
        )


def from_frame(frame: Any) -> pa.Table:
    """Return a pandas frame as an Arrow table; times in `event_timestamp` may be text."""
    import pandas as pd

    if DEFAULT_TIMESTAMP in frame and not pd.api.types.is_datetime64_any_dtype(frame[DEFAULT_TIMESTAMP]):
        frame = frame.assign(**{DEFAULT_TIMESTAMP: pd.to_datetime(frame[DEFAULT_TIMESTAMP], utc=True)})
    return pa.Table.from_pandas(frame, preserve_index=False)
