"""Rows of a Parquet file that need not fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.inputs.arrays import PART_ROWS


@dataclass(frozen=True)
class RowFile:
    """Reads rows of a Parquet file in order, a part at a time, as often as it is asked.

    `pyarrow.dataset` does as much; but it reads ahead, up to a gigabyte of rows that wait to be taken.

    Attributes:
        file: with the rows.
        min_value: rows whose `value` is below, or null, are left out; None keeps all.
    """

    file: Path
    min_value: float | None = None

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return pq.read_schema(self.file)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield some columns of the rows, or all, at most `PART_ROWS` rows at a time."""
        columns = self.schema.names if columns is None else columns
        read = columns if self.min_value is None else sorted({*columns, "value"})
        with pq.ParquetFile(self.file) as file:
            for group in range(file.num_row_groups):  # a reader keeps what it has read of all its groups
                for part in file.iter_batches(PART_ROWS, row_groups=[group], columns=read):
                    if self.min_value is not None:
                        part = part.filter(pc.greater_equal(part["value"], self.min_value))
                    yield part.select(columns)

    def count_rows(self) -> int:
        """Return the number of rows."""
        if self.min_value is None:
            return int(pq.read_metadata(self.file).num_rows)
        return sum(part.num_rows for part in self.parts(["value"]))

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Return some columns of all rows, or all."""
        columns = self.schema.names if columns is None else columns
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(self.parts(columns), schema)

    def take(self, rows: NDArray[np.integer[Any]], columns: list[str] | None = None) -> pa.Table:
        """Return the rows of these numbers, from 0, in this order."""
        order = np.argsort(rows)
        wanted, taken, start = rows[order], [], 0
        for part in self.parts(columns):
            low, high = np.searchsorted(wanted, [start, start + part.num_rows])
            taken.append(part.take(pa.array(wanted[low:high] - start)))
            start += part.num_rows
        return pa.Table.from_batches(taken).take(pa.array(np.argsort(order)))
