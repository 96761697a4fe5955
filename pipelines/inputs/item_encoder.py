"""An item's features (id, content, popularity, quality) as the numpy inputs of the item tower and the ranker."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from numpy.typing import NDArray

from pipelines.inputs.arrays import Column, Rows, Table, column, column_parts, contiguous, parts
from pipelines.inputs.encoder import Encoder
from pipelines.inputs.numbers import NumberEncoder, Scale
from pipelines.inputs.query_encoder import longest
from pipelines.inputs.supplied_vectors import vector_rows
from pipelines.inputs.text import tokenize
from pipelines.inputs.vocabulary import Vocabulary

POPULARITY: dict[str, Scale] = {
    "item_num_events_1d": "count",
    "item_num_events_7d": "count",
    "item_num_events_30d": "count",
    "item_num_events": "count",
}
QUALITY: dict[str, Scale] = {"item_mean_value": "linear", "item_num_values": "log", "item_value_std": "linear"}
ITEM_FEATURES = ("title", "text", "categories", *POPULARITY)
"""Features that the item tower encodes an item from; the ranker takes those of `QUALITY` too."""
MAX_TOKENS_KNOWN = 20_000


class ItemEncoder(Encoder):
    """Turns item feature rows into named arrays; a cold item relies on its content, never an error.

    The arrays, all with `num_rows` first:
        item: int32 `[num_rows]`.
        categories: int32 `[num_rows, num_categories]`, 0 after the last.
        tokens: int32 `[num_rows, max_text_tokens]`, words of the title, then of the text, 0 after the last.
        item_numbers: float32 `[num_rows, num_item_numbers]`.
        vector: int32 `[num_rows]`, place of the item's supplied vector from 1, 0 for none; only where there are any.

    Attributes:
        vector_ids: items that have a supplied vector, `[num_vectors]`; None where none were supplied.
    """

    VOCABULARIES = ("item", "category", "token")
    FILE = "item_encoder.json"
    VECTOR_IDS = "vector_ids.arrow"

    vector_ids: pa.Array | None = None

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        num_oov_buckets: int,
        max_text_tokens: int,
        scales: Mapping[str, Scale] = POPULARITY,
        content: Rows | None = None,
        num_bins: int | None = None,
    ) -> "ItemEncoder":
        """Learn from training-window rows with the item columns of `retrieval_v1` (or `ranking_v1`).

        Args:
            rows: feature rows of training-window labels; ids and numbers are fitted on it.
            num_oov_buckets: ids kept for unseen items, categories and words.
            max_text_tokens: words kept of an item; 0 keeps one column of padding.
            scales: numeric columns and how to scale them.
            content: one row an item, for categories and words; None takes them from `rows`.
            num_bins: bins of each number; None standardizes them.
        """
        content = rows if content is None else content

        def fit(values: Iterable[Column], size: int | None = None) -> Vocabulary:
            return Vocabulary.fit_parts(values, num_oov_buckets=num_oov_buckets, max_size=size)

        tokens = (_tokens(part) for part in parts(content, ("title", "text")))
        vocabularies = {
            "item": fit(column_parts(rows, "item_id")),
            "category": fit(column_parts(content, "categories")),
            "token": fit((part for part in tokens if part is not None), MAX_TOKENS_KNOWN),
        }
        widths = {"categories": longest(content, "categories"), "tokens": max(1, max_text_tokens)}
        return cls(vocabularies, widths, NumberEncoder.fit(rows, scales, num_bins=num_bins))

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Input name -> (shape of one row, dtype)."""
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "item": ((), "int32"),
            "categories": ((self.widths["categories"],), "int32"),
            "tokens": ((self.widths["tokens"],), "int32"),
            "item_numbers": ((self.numbers.width,), "float32"),
        }
        return shapes if self.vector_ids is None else {**shapes, "vector": ((), "int32")}

    def encode(self, items: Table) -> dict[str, NDArray[Any]]:
        """Return the arrays of the class docstring for `items` (any subset of the item columns)."""
        n, known, width = items.num_rows, self.vocabularies, self.widths
        ids = column(items, "item_id")
        tokens = known["token"].lookup_lists(_tokens(items), num_rows=n, width=width["tokens"])
        vectors = {} if self.vector_ids is None else {"vector": vector_rows(self.vector_ids, ids, n)}
        return {
            **vectors,
            "item": np.zeros(n, dtype=np.int32) if ids is None else known["item"].lookup(ids),
            "categories": known["category"].lookup_lists(
                column(items, "categories"), num_rows=n, width=width["categories"]
            ),
            "tokens": tokens,
            "item_numbers": self.numbers.encode(items),
        }

    def save(self, folder: Path) -> None:
        """Write the encoder into `folder` as Parquet, Arrow and JSON."""
        super().save(folder)
        if self.vector_ids is not None:
            feather.write_feather(pa.table({"item_id": self.vector_ids}), folder / self.VECTOR_IDS)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        encoder = super().load(folder)
        file = folder / cls.VECTOR_IDS
        if file.exists():
            encoder.vector_ids = contiguous(feather.read_table(file, memory_map=False)["item_id"])
        return encoder


def _tokens(items: Table) -> pa.Array | None:
    """Words of the title followed by those of the text, each distinct pair tokenized once."""
    import pyarrow.compute as pc

    parts = [column(items, name) for name in ("title", "text")]
    texts = [pc.fill_null(_plain(part), "") for part in parts if part is not None and not pa.types.is_null(part.type)]
    if not texts:
        return None
    whole = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, " ")
    distinct = contiguous(whole).dictionary_encode()
    return tokenize(distinct.dictionary).take(distinct.indices)


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
