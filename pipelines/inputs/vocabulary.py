"""Strings to integer ids, the same in training and in serving, with room for the unseen."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.inputs.arrays import Column, bucket, contiguous, elements, pad_lists, strings

PADDING = 0
FEW = 1_024  # up to here a Python dictionary beats Arrow, which hashes the whole vocabulary on each call


class Vocabulary:
    """Ids of strings: 0 is padding or null, then the out-of-vocabulary buckets, then the known values.

    Attributes:
        values: known values, in id order.
        num_oov_buckets: ids `1..num_oov_buckets` are shared by unseen values, by a stable hash.
    """

    def __init__(self, values: pa.Array, num_oov_buckets: int) -> None:
        self.values = values
        self.num_oov_buckets = num_oov_buckets
        self._ids: dict[str, int] | None = None

    @classmethod
    def fit(cls, values: Column, *, num_oov_buckets: int, max_size: int | None = None) -> "Vocabulary":
        """Learn the distinct values, most frequent first, ties by value.

        Args:
            values: strings or lists of strings; nulls are ignored.
            num_oov_buckets: ids kept for unseen values, at least 1.
            max_size: known values kept; None keeps all.
        """
        return cls.fit_parts([contiguous(values)], num_oov_buckets=num_oov_buckets, max_size=max_size)

    @classmethod
    def fit_parts(
        cls, values: Iterable[pa.Array], *, num_oov_buckets: int, max_size: int | None = None
    ) -> "Vocabulary":
        """Learn from values that come a part at a time what `fit` learns from all of them; only counts are kept."""
        total = pa.table({"value": pa.array([], pa.string()), "count": pa.array([], pa.int64())})
        for part in values:
            counts = _counts(part).rename_columns(total.column_names).cast(total.schema)
            total = pa.concat_tables([total, counts]).group_by("value").aggregate([("count", "sum")])
            total = total.rename_columns(["value", "count"])
        total = total.sort_by([("count", "descending"), ("value", "ascending")])
        return cls(contiguous(total["value"][:max_size]), num_oov_buckets)

    @property
    def size(self) -> int:
        """Number of ids: rows of an embedding table over this vocabulary."""
        return 1 + self.num_oov_buckets + len(self.values)

    @property
    def first_known(self) -> int:
        """The smallest id of a known value."""
        return 1 + self.num_oov_buckets

    def lookup(self, values: Column) -> NDArray[np.int32]:
        """Return ids, int32 `[num_rows]`: 0 for null, an out-of-vocabulary bucket for an unseen value."""
        array = strings(contiguous(values))
        if pa.types.is_dictionary(array.type):
            per_value = self.lookup(array.dictionary)
            indices = pc.fill_null(array.indices, len(per_value)).to_numpy(zero_copy_only=False)
            ids: NDArray[np.int32] = np.append(per_value, np.int32(PADDING))[indices]
            return ids
        return self._lookup_few(array) if len(array) <= FEW else self._lookup_many(array)

    def lookup_lists(
        self, lists: pa.Array | None, *, num_rows: int, width: int, keep: Literal["first", "last"] = "first"
    ) -> NDArray[np.int32]:
        """Return padded ids of a list column, int32 `[num_rows, width]`; a missing column is all padding."""
        if lists is None or pa.types.is_null(lists.type):
            return np.zeros((num_rows, width), dtype=np.int32)
        return pad_lists(lists, self.lookup(elements(lists)), width=width, keep=keep)

    def save(self, folder: Path, name: str) -> None:
        """Write `NAME.parquet` (values) and `NAME.json` (buckets) into `folder`."""
        pq.write_table(pa.table({"value": self.values.cast(pa.string())}), folder / f"{name}.parquet")
        (folder / f"{name}.json").write_text(json.dumps({"num_oov_buckets": self.num_oov_buckets}))

    @classmethod
    def load(cls, folder: Path, name: str) -> "Vocabulary":
        """Read what `save` wrote."""
        values = contiguous(pq.read_table(folder / f"{name}.parquet")["value"])
        return cls(values, json.loads((folder / f"{name}.json").read_text())["num_oov_buckets"])

    def _lookup_few(self, array: pa.Array) -> NDArray[np.int32]:
        if self._ids is None:
            self._ids = {text: self.first_known + i for i, text in enumerate(self.values.to_pylist())}
        known = self._ids
        return np.fromiter(
            (PADDING if text is None else known.get(text) or self._oov(text) for text in array.to_pylist()),
            dtype=np.int32,
            count=len(array),
        )

    def _lookup_many(self, array: pa.Array) -> NDArray[np.int32]:
        found = pc.index_in(array, value_set=self.values)
        unseen = pc.and_(pc.is_null(found), pc.is_valid(array)).to_numpy(zero_copy_only=False)
        ids: NDArray[np.int32] = (
            pc.fill_null(found, -self.first_known).to_numpy(zero_copy_only=False) + self.first_known
        ).astype(np.int32)
        if unseen.any():
            encoded = array.filter(pa.array(unseen)).dictionary_encode()
            buckets = np.array([self._oov(text) for text in encoded.dictionary.to_pylist()], dtype=np.int32)
            ids[unseen] = buckets[encoded.indices.to_numpy(zero_copy_only=False)]
        return ids

    def _oov(self, text: str) -> int:
        return 1 + bucket(text, self.num_oov_buckets)


def _counts(values: pa.Array) -> pa.Table:
    """Return each distinct value, or element of lists, and how often it is there; not null."""
    flat = values.flatten() if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) else values
    counts = pa.table({"value": _decoded(strings(flat))}).group_by("value").aggregate([("value", "count")])
    return counts.filter(pc.is_valid(counts["value"]))


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
