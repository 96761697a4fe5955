"""(query, candidate) pairs as the numpy inputs of the ranker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.inputs.arrays import Rows, Table
from pipelines.inputs.item_encoder import POPULARITY, QUALITY, ItemEncoder
from pipelines.inputs.numbers import NumberEncoder, Scale
from pipelines.inputs.query_encoder import QueryEncoder

PAIR_NUMBERS: dict[str, Scale] = {"retrieval_score": "linear", "taste_match": "linear"}
Arrays = dict[str, NDArray[Any]]


class RankingEncoder:
    """Encodes each side by itself, so that serving encodes its corpus once and a query once, then pairs them.

    `encode` of a table of pairs equals `pair` of its encoded queries and items. The arrays are those of
    QueryEncoder and ItemEncoder plus pair_numbers: float32 `[num_pairs, 2]` (retrieval score, taste match).
    """

    def __init__(self, query: QueryEncoder, item: ItemEncoder, pair_numbers: NumberEncoder) -> None:
        self.query = query
        self.item = item
        self.pair_numbers = pair_numbers

    @classmethod
    def fit(
        cls, pairs: Table, *, query: QueryEncoder, items: Rows, num_oov_buckets: int, max_text_tokens: int
    ) -> "RankingEncoder":
        """Learn from the pairs of training queries.

        Args:
            pairs: candidates' item features with `retrieval_score` and `taste_match`.
            query: the query encoder of the retrieval model; both models read queries alike.
            items: training-window rows that decide the item vocabulary.
            num_oov_buckets: ids kept for unseen items, categories and words.
            max_text_tokens: words kept of an item.
        """
        ids = ItemEncoder.fit(items, num_oov_buckets=num_oov_buckets, max_text_tokens=max_text_tokens, scales={})
        item = ItemEncoder(ids.vocabularies, ids.widths, NumberEncoder.fit(pairs, {**POPULARITY, **QUALITY}))
        return cls(query, item, NumberEncoder.fit(pairs, PAIR_NUMBERS))

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Input name -> (shape of one row, dtype)."""
        return {**self.query.shapes, **self.item.shapes, "pair_numbers": ((self.pair_numbers.width,), "float32")}

    def encode(self, pairs: Table) -> Arrays:
        """Return the inputs of `pairs`: one row a pair, with query, item and pair columns."""
        return {**self.query.encode(pairs), **self.item.encode(pairs), "pair_numbers": self.pair_numbers.encode(pairs)}

    def pair(
        self,
        query: Arrays,
        items: Arrays,
        *,
        query_rows: NDArray[np.integer[Any]],
        item_rows: NDArray[np.integer[Any]],
        retrieval_score: NDArray[np.floating[Any]],
        taste_match: NDArray[np.floating[Any]],
    ) -> Arrays:
        """Return the inputs of pairs, gathered from encoded queries and items.

        Args:
            query: `query.encode` of `[num_queries]` rows.
            items: `item.encode` of `[num_items]` rows.
            query_rows: row of each pair's query, `[num_pairs]`.
            item_rows: row of each pair's item, `[num_pairs]`.
            retrieval_score: dot product of the towers' outputs, `[num_pairs]`.
            taste_match: the on-demand feature, `[num_pairs]`.
        """
        raw = {"retrieval_score": retrieval_score, "taste_match": taste_match}
        matrix = np.stack([np.asarray(raw[name], dtype=np.float64) for name in PAIR_NUMBERS], axis=1)
        return {
            **{name: values[query_rows] for name, values in query.items()},
            **{name: values[item_rows] for name, values in items.items()},
            "pair_numbers": self.pair_numbers.encode_matrix(matrix),
        }

    def save(self, folder: Path) -> None:
        """Write the encoder into `folder` as Parquet and JSON."""
        self.query.save(folder / "query")
        self.item.save(folder / "item")
        (folder / "pair.json").write_text(json.dumps(self.pair_numbers.to_dict(), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "RankingEncoder":
        """Read what `save` wrote."""
        pair_numbers = NumberEncoder.from_dict(json.loads((folder / "pair.json").read_text()))
        return cls(QueryEncoder.load(folder / "query"), ItemEncoder.load(folder / "item"), pair_numbers)
