"""Vectors that somebody else made of items, such as embeddings of their text or images, as numbers of rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.contracts import ITEM_ID
from pipelines.errors import ConfigError
from pipelines.inputs.arrays import Column, contiguous, elements, list_lengths, strings

Floats = NDArray[np.float32]
AS_OF = "as_of"
MOMENTS_FILE = "vectors_as_of.arrow"


@dataclass(frozen=True)
class SuppliedVectors:
    """Vectors of items, the same in training and where an index is built: the bundle holds all of them.

    Attributes:
        item_ids: items that have a vector, `[num_vectors]`.
        table: row 0 stands for an item without a vector, then one a vector, `[1 + num_vectors, 1 + dim]`. The last
            column says 1 where the vector is missing; the others are then 0, which is the mean item of training.
        as_of: the moment up to which each vector's maker looked at the world, by the file's own word: timestamps in
            UTC, null where it says nothing, `[num_vectors]`.
    """

    item_ids: pa.Array
    table: Floats
    as_of: pa.Array

    @classmethod
    def read(cls, file: Path, column: str, *, trained_on: Column) -> "SuppliedVectors":
        """Read a Parquet file with `item_id` and a column of lists of numbers, all of one length.

        Vectors lose the mean of those of training's items, and are divided by their root mean square length. Only
        items of training decide both, so that nothing of later items is known; rows of null are no vectors. The file
        says when its vectors are of in a column `as_of`, or once for all under `as_of` of its key-value metadata.

        Args:
            file: of all items that have a vector, whether or not anybody used them yet.
            column: with the vectors.
            trained_on: ids of the training window's items, with or without repetition.

        Raises:
            ConfigError: file or column is missing, ids repeat, vectors differ in length or are not finite, `as_of` is
                no moment, or no item of training has a vector.
        """
        ids, raw, as_of = _read(file, column)
        of_training = pc.is_in(ids, value_set=contiguous(pc.unique(strings(contiguous(trained_on)))))
        known = raw[of_training.to_numpy(zero_copy_only=False)]
        if not len(known):
            raise ConfigError(
                f"{file} has vectors of {len(ids):,} items, none of which is in the training window; expected the ids "
                "of the item table. Correct retrieval.item_vectors"
            )
        mean = known.mean(axis=0)
        length = float(np.sqrt(((known - mean) ** 2).sum(axis=1).mean()))
        table = np.zeros((1 + len(ids), 1 + raw.shape[1]), dtype=np.float32)
        table[0, -1] = 1
        table[1:, :-1] = (raw - mean) / (length if length > 1e-12 else 1.0)
        return cls(ids, table, as_of)

    def save_moments(self, folder: Path) -> None:
        """Write which item's vector is of when into a bundle, for the check of leaks."""
        folder.mkdir(parents=True, exist_ok=True)
        feather.write_feather(pa.table({ITEM_ID: self.item_ids, AS_OF: self.as_of}), folder / MOMENTS_FILE)


def vector_rows(known: pa.Array, item_ids: Column | None, num_rows: int) -> NDArray[np.int32]:
    """Return the place of each item among the known ones, from 1, and 0 for any other, int32 `[num_rows]`."""
    if item_ids is None:
        return np.zeros(num_rows, dtype=np.int32)
    ids = strings(contiguous(item_ids))
    ids = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    places: Any = pc.fill_null(pc.index_in(ids, value_set=known, skip_nulls=True), -1)
    return np.asarray(places.to_numpy(zero_copy_only=False), dtype=np.int32) + np.int32(1)


def _read(file: Path, column: str) -> tuple[pa.Array, NDArray[np.float64], pa.Array]:
    """Return ids, vectors and their moments, `[num_vectors]`, `[num_vectors, dim]` and `[num_vectors]`."""
    if not file.is_file():
        raise ConfigError(f"retrieval.item_vectors names {file}, which is not a file; expected Parquet with item_id")
    schema = pq.read_schema(file)
    there = schema.names
    if missing := [name for name in (ITEM_ID, column) if name not in there]:
        raise ConfigError(
            f"{file} has no column {', '.join(missing)}; it has {', '.join(there)}. Set retrieval.vector_column"
        )
    rows = pq.read_table(file, columns=[ITEM_ID, column, *([AS_OF] if AS_OF in there else [])])
    rows = rows.filter(pc.and_(pc.is_valid(rows[ITEM_ID]), pc.is_valid(rows[column])))
    ids, lists = strings(contiguous(rows[ITEM_ID])), contiguous(rows[column])
    if not (
        pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type) or pa.types.is_fixed_size_list(lists.type)
    ):
        raise ConfigError(f"column {column} of {file} is {lists.type}; expected lists of numbers")
    lists = lists.cast(pa.list_(pa.float64()))
    lengths = list_lengths(lists)
    if not len(lengths) or lengths.min() != lengths.max() or not lengths.max():
        found = f"{lengths.min()} to {lengths.max()} numbers" if len(lengths) else "no rows"
        raise ConfigError(f"vectors in column {column} of {file} have {found}; expected as many in each, at least 1")
    values = np.asarray(elements(lists).to_numpy(zero_copy_only=False), dtype=np.float64).reshape(len(ids), -1)
    if not np.isfinite(values).all():
        bad = ids[int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])]
        raise ConfigError(f"the vector of item {bad} in {file} is not finite; expected numbers, or null for no vector")
    repeated = len(ids) - pc.count_distinct(ids).as_py()
    if repeated:
        raise ConfigError(f"{file} has {repeated} items twice; expected one row an item")
    return ids, values, _moments(file, rows, schema.metadata or {})


def _moments(file: Path, rows: pa.Table, metadata: dict[bytes, bytes]) -> pa.Array:
    """Return `as_of` of each row: of its column, else of the file's metadata, else null."""
    said = metadata.get(AS_OF.encode())
    found = (
        contiguous(rows[AS_OF])
        if AS_OF in rows.column_names
        else pa.array([None if said is None else said.decode()] * rows.num_rows, pa.string())
    )
    try:
        return found.cast(pa.timestamp("us", tz="UTC"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"`as_of` of {file} is no moment ({error}); expected timestamps, or text such as 2025-01-31T00:00:00Z"
        ) from error
