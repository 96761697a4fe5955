"""Features computed from a request: one code for training, for Feast's on-demand views and for serving.

Pure numpy and pyarrow over whole columns. A row's result depends on that row alone, to the last bit, so that one
request gives what the same row gave among a million.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HOUR = 3_600_000_000
DAY = 24 * HOUR
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

Column: TypeAlias = pa.Array | pa.ChunkedArray
REQUEST_TIMESTAMP = "request_timestamp"


def request_context(request_timestamp: Column) -> dict[str, pa.Array]:
    """Return `hour` (0 to 23) and `weekday` (Monday is 0) in UTC, int64 `[num_rows]`; null where there is no time."""
    moments, missing = _microseconds(request_timestamp)
    hour, weekday = moments // HOUR % 24, (moments // DAY + EPOCH_WEEKDAY) % 7
    return {"hour": pa.array(hour, mask=missing), "weekday": pa.array(weekday, mask=missing)}


def days_since_last_event(request_timestamp: Column, last_known_at: Column) -> pa.Array:
    """Return days from `last_known_at` to the request, float32 `[num_rows]`; null where there was no event."""
    moments, missing = _microseconds(request_timestamp)
    last, never = _microseconds(last_known_at)
    return pa.array(((moments - last) / DAY).astype(np.float32), mask=missing | never)


def taste_match(taste_categories: Column, taste_weights: Column, categories: Column) -> npt.NDArray[np.float32]:
    """Return how much of a user's taste an item covers: the sum of the weights of the item's categories.

    Args:
        taste_categories: list of strings, `[num_rows, num_tastes]`.
        taste_weights: list of floats beside them.
        categories: list of strings, the item's, `[num_rows, num_categories]`.

    Returns:
        float32 `[num_rows]`; 0 where either side is null or empty.
    """
    tastes, items = _flat(taste_categories), _flat(categories)
    num_tastes, num_categories = _lengths(taste_categories), _lengths(categories)
    weights = np.asarray(_flat(taste_weights).cast(pa.float64()).fill_null(0.0))
    taste_codes, item_codes = _shared_codes(tastes, items)
    owner = np.repeat(np.arange(len(num_tastes)), num_tastes)
    starts = np.concatenate(([0], np.cumsum(num_categories)))[:-1]
    total = np.zeros(len(num_tastes), np.float64)
    for position in range(int(num_categories.max(initial=0))):
        wanted = np.full(len(num_tastes), -1, np.int64)
        has = num_categories > position
        wanted[has] = item_codes[starts[has] + position]
        hits = np.flatnonzero(wanted[owner] == taste_codes)
        total += np.bincount(owner[hits], weights[hits], minlength=len(total))
    return total.astype(np.float32)


def _microseconds(moments: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Microseconds since 1970 (0 where null) and where they are null."""
    array = moments.cast(pa.timestamp("us", tz="UTC"), safe=False) if pa.types.is_timestamp(moments.type) else moments
    missing = np.asarray(array.is_null())
    return np.asarray(array.cast(pa.int64()).fill_null(0)), missing


def _lengths(lists: Column) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _flat(lists: Column) -> pa.Array:
    """The values of all lists, one after the other; null lists have none."""
    flat = pc.list_flatten(lists)
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _shared_codes(left: pa.Array, right: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Integer codes of two string arrays over one dictionary; nulls match nothing."""
    both = pa.concat_arrays([left.cast(pa.string()), right.cast(pa.string())]).dictionary_encode()
    codes = both.indices.cast(pa.int64())
    return np.asarray(codes[: len(left)].fill_null(-2)), np.asarray(codes[len(left) :].fill_null(-3))
