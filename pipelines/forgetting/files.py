"""Which files hold a user: Parquet by its columns, everything else by its bytes."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.forgetting.needle import USER_COLUMNS, Needle

PARQUET = ".parquet"
USER_VOCABULARY = "user.parquet"
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_list, pa.types.is_dictionary)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below a folder, in order; links are not followed."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(path) / name for name in sorted(names) if not (Path(path) / name).is_symlink())


def holds(path: Path, needle: Needle) -> bool:
    """Return whether a file holds a user; one that is gone meanwhile does not."""
    try:
        if path.suffix == PARQUET:
            return parquet_rows(path, needle, vocabulary=path.name == USER_VOCABULARY) > 0
    except pa.ArrowInvalid:
        pass  # a killed writer's half of a file: by its bytes
    except FileNotFoundError:
        return False
    return any(True for _ in spans_in(path, needle))


def parquet_rows(source: Any, needle: Needle, *, vocabulary: bool = False) -> int:
    """Return how many rows of a Parquet file, a path or an open one, hold a user.

    Raises:
        pyarrow.ArrowInvalid: it is no whole Parquet file.
    """
    with pq.ParquetFile(source) as file:
        columns = [field.name for field in file.schema_arrow if _speaks(field, needle, vocabulary)]
        if not columns:
            return 0
        return sum(needle.rows(batch, vocabulary=vocabulary) for batch in file.iter_batches(columns=columns))


def spans_in(path: Path, needle: Needle) -> list[tuple[int, int]]:
    """Return where a user's id stands in a file; nowhere if the file is gone, or no file of bytes."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return []
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return list(needle.spans(content))
    except FileNotFoundError:
        return []


def blank(path: Path, needle: Needle) -> None:
    """Overwrite a user's id in a text file, in place: the process that appends to it goes on."""
    spans = spans_in(path, needle)
    with path.open("r+b", buffering=0) as file:
        for start, end in spans:
            os.pwrite(file.fileno(), b"-" * (end - start), start)


def _speaks(field: pa.Field, needle: Needle, vocabulary: bool) -> bool:
    by_name = vocabulary or field.name in USER_COLUMNS
    return (
        by_name or pa.types.is_binary(field.type) or (needle.telling and any(is_kind(field.type) for is_kind in _TEXT))
    )
