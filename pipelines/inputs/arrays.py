"""Arrow columns as numpy arrays: missing columns, nulls and ragged lists made regular."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Table = Any  # pa.Table | pa.RecordBatch
Column = Any  # pa.Array | pa.ChunkedArray; pyarrow has no types of its own
Rows = Any  # pa.Table, or a RowFile, whose rows are read a part at a time

PART_ROWS = 32_768


def parts(rows: Rows, names: Iterable[str]) -> Iterator[Table]:
    """Yield some columns of rows in order, those that are there; a table, which is in memory, is one part."""
    columns = [name for name in names if name in rows.schema.names]
    yield from [rows.select(columns)] if isinstance(rows, pa.Table) else rows.parts(columns)


def column_parts(rows: Rows, name: str) -> Iterator[pa.Array]:
    """Yield a column of `parts`; nothing where the rows lack it."""
    if name in rows.schema.names:
        yield from (contiguous(part.column(0)) for part in parts(rows, (name,)))


def column(table: Table, name: str) -> pa.Array | None:
    """Return the column as one contiguous array, or None when the table lacks it."""
    index = table.schema.get_field_index(name)
    return None if index < 0 else contiguous(table.column(index))


def contiguous(values: Column) -> pa.Array:
    """Return `values` as a single array, its dictionaries unified."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1:
        return values.chunk(0)
    combined = values.unify_dictionaries().combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return a numeric column as float64 `[num_rows]`; NaN where it is null, or everywhere if it is missing."""
    values = column(table, name)
    if values is None or pa.types.is_null(values.type):
        return np.full(table.num_rows, np.nan)
    if pa.types.is_decimal(values.type) or pa.types.is_boolean(values.type):
        values = values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def strings(values: pa.Array) -> pa.Array:
    """Return `values` as strings, whatever they were: an integer id and its text are one id."""
    if pa.types.is_string(values.type) or pa.types.is_dictionary(values.type):
        return values
    return values.cast(pa.string())


def list_lengths(lists: pa.Array) -> NDArray[np.int64]:
    """Return the length of each list, 0 for null: int64 `[num_rows]`."""
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def elements(lists: pa.Array) -> pa.Array:
    """Return the elements that the rows of `lists` span, and only those: a slice does not drag its whole table."""
    offsets = lists.offsets
    start = offsets[0].as_py()
    return lists.values.slice(start, offsets[-1].as_py() - start)


def pad_lists(
    lists: pa.Array, flat: NDArray[Any], *, width: int, keep: Literal["first", "last"] = "first"
) -> NDArray[Any]:
    """Lay ragged rows out as a matrix padded with 0.

    Args:
        lists: list array `[num_rows]`; a null row is an empty one.
        flat: value per element of `elements(lists)`: `[num_elements]`.
        width: columns of the result.
        keep: `first` keeps and left-aligns the first elements; `last` keeps the last and right-aligns them, so
            that column -1 is always the newest.

    Returns:
        `[num_rows, width]`, of the type of `flat`.
    """
    num_rows = len(lists)
    padded = np.zeros((num_rows, width), dtype=flat.dtype)
    lengths = list_lengths(lists)
    kept = np.minimum(lengths, width)
    total = int(kept.sum())
    if total == 0:
        return padded
    offsets = np.asarray(lists.offsets.to_numpy(zero_copy_only=False), dtype=np.int64)
    starts = offsets[:num_rows] - offsets[0]
    first = starts if keep == "first" else starts + lengths - kept
    column_start = np.zeros(num_rows, dtype=np.int64) if keep == "first" else width - kept
    position = np.arange(total) - np.repeat(np.cumsum(kept) - kept, kept)
    rows = np.repeat(np.arange(num_rows), kept)
    padded[rows, np.repeat(column_start, kept) + position] = flat[np.repeat(first, kept) + position]
    return padded


def bucket(text: str, num_buckets: int) -> int:
    """Return a bucket in `0..num_buckets-1` that is the same in every process and on every machine."""
    return zlib.crc32(text.encode()) % num_buckets
