"""The rows that the Spark offline store joins features to: a pandas frame, an Arrow table, or SQL for Spark."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.stores.asof_entities import from_frame, require_keys, timestamp_column
from pipelines.stores.asof_join import AT, BATCH_ROWS, ROW
from pipelines.stores.spark_join import column, microseconds
from pipelines.stores.spark_staging import Staging

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STAGED, KEYS = "entity_rows", "entity_keys.parquet"


class SparkEntityRows:
    """Rows with keys and a time, in their order.

    Args:
        session: Spark session.
        rows: a pandas frame, an Arrow table, or a Spark query, which is run once, on the cluster. Times without a zone
            are UTC; a frame may hold them as text.
        staging: where executors find the rows.

    Raises:
        FeatureStoreError: no column, or more than one, could be the rows' time.
    """

    def __init__(self, session: "SparkSession", rows: Any, staging: Staging) -> None:
        self._session, self._staging = session, staging
        self._table: pa.Table | None = None
        if isinstance(rows, str):
            from pyspark.sql import functions as fn

            # Kept, not queried again for each view: a query need not give its rows in the same order twice.
            staging.write(STAGED, session.sql(rows).withColumn(ROW, fn.monotonically_increasing_id()))
            staged = staging.read(STAGED).schema
            self.schema = pa.schema([field for field in staged if field.name != ROW])
        else:
            self._table = rows if isinstance(rows, pa.Table) else from_frame(rows)
            self.schema = self._table.schema
        self.timestamp = timestamp_column(self.schema)

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows, with all their columns, in their order."""
        if self._table is not None:
            return self._table.to_reader(BATCH_ROWS)
        names = self.schema.names
        batches = (batch.select(names) for batch in self._staging.read(STAGED))
        return pa.RecordBatchReader.from_batches(self.schema, batches)

    def labels(self, keys: Sequence[str]) -> "DataFrame":
        """Return `keys`, `__at` and `__row`, as `spark_join.join_view` wants them.

        Raises:
            FeatureStoreError: the rows lack a key.
        """
        require_keys(keys, self.schema)
        names = list(dict.fromkeys(keys))
        if self._table is None:
            staged = self._session.read.parquet(self._staging.uri(STAGED))
            return staged.select(*map(column, names), microseconds(self.timestamp).alias(AT), column(ROW))
        slim = self._table.select(names).append_column(AT, _moments(self._table[self.timestamp]))
        return self._staging.put(
            self._session, KEYS, slim.append_column(ROW, pa.array(np.arange(slim.num_rows), pa.int64()))
        )

    def time_range(self) -> tuple[datetime | None, datetime | None]:
        """Return the earliest and the latest time."""
        if self._table is not None:
            bounds = pc.min_max(_moments(self._table[self.timestamp])).as_py()
            found = bounds["min"], bounds["max"]
        else:
            from pyspark.sql import functions as fn

            (row,) = self.labels([]).agg(fn.min(AT), fn.max(AT)).collect()
            found = row[0], row[1]
        earliest, latest = (None if at is None else _moment(at) for at in found)
        return earliest, latest


def _moments(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in microseconds since 1970; finer ones rounded down, so that no label sees a row from its future."""
    if pa.types.is_timestamp(times.type) and times.type.unit == "ns":
        times = pc.floor_temporal(times, unit="microsecond")
    zone = times.type.tz if pa.types.is_timestamp(times.type) else None
    return times.cast(pa.timestamp("us", tz=zone)).cast(pa.int64())


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)
