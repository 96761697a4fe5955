"""Digests of table contents that do not depend on how the rows are stored.

Two tables have one fingerprint exactly when they have the same columns and the same rows in the same order, however
they are chunked, compressed, dictionary-encoded or split into row groups.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Fingerprint:
    """SHA-256 over rows that arrive table by table.

    Every column is a few streams of bytes (which values are there, lengths, the values), each hashed on its own: a
    stream is the same wherever one chunk ends and the next begins.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Any] = {}

    def update(self, table: pa.Table) -> None:
        """Add the rows of `table`."""
        for name in table.column_names:
            for chunk in table[name].chunks:
                for stream, data in _streams(chunk):
                    self._streams.setdefault((name, stream), hashlib.sha256()).update(data)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far."""
        parts = [[*key, digest.hexdigest()] for key, digest in sorted(self._streams.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def parquet_fingerprint(files: list[Path]) -> str:
    """Return one digest over the rows of Parquet files, in the given order; file names count."""
    import pyarrow.parquet as pq

    prints = {}
    for file in files:
        rows = Fingerprint()
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches():
                rows.update(pa.Table.from_batches([batch]))
        prints[file.name] = rows.hexdigest()
    return combine(prints)


def combine(prints: dict[str, str]) -> str:
    """Return one digest over named digests, in their order."""
    return hashlib.sha256(json.dumps(list(prints.items())).encode()).hexdigest()


def _streams(array: pa.Array, path: str = "") -> Iterator[tuple[str, bytes | memoryview]]:
    """Streams of one chunk: stream name -> bytes. A null adds nothing but its absence."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    yield f"{path}valid", np.asarray(array.is_valid()).astype(np.uint8).tobytes()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield f"{path}lengths", _int64(pc.list_value_length(array))
        yield from _streams(pc.list_flatten(array), f"{path}items/")
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield f"{path}lengths", _int64(pc.binary_length(array))
        yield f"{path}text", _text(array)
    elif pa.types.is_timestamp(kind):
        yield f"{path}microseconds", _int64(array.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()))
    elif pa.types.is_boolean(kind):
        yield f"{path}bool", _int64(array.cast(pa.uint8()))
    else:
        yield f"{path}{kind}", np.ascontiguousarray(array.fill_null(0)).tobytes()


def _int64(array: pa.Array) -> bytes:
    return np.asarray(array.fill_null(0)).astype("<i8").tobytes()


def _text(array: pa.Array) -> bytes | memoryview:
    """The characters of all strings, one after the other; a null has none."""
    values = (array.fill_null("") if array.null_count else array).cast(pa.large_string())
    _, offsets, characters = values.buffers()
    bounds = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return memoryview(characters)[bounds[0] : bounds[-1]] if characters is not None and len(bounds) else b""
