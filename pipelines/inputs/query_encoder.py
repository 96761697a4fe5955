"""A query's features (user, history, context) as the numpy inputs of the query tower."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.inputs.arrays import (
    Rows,
    Table,
    column,
    column_parts,
    contiguous,
    elements,
    list_lengths,
    numbers,
    pad_lists,
)
from pipelines.inputs.encoder import Encoder
from pipelines.inputs.numbers import NumberEncoder, Scale, cyclic
from pipelines.inputs.vocabulary import Vocabulary

USER_NUMBERS: dict[str, Scale] = {
    "user_num_events": "log",
    "user_num_events_7d": "log",
    "user_num_events_30d": "log",
    "user_mean_value": "linear",
    "days_since_last_event": "log",
}
QUERY_FEATURES = (*USER_NUMBERS, "recent_items", "attributes", "taste_categories", "taste_weights", "hour", "weekday")
"""Features that a query is encoded from."""
TIME_WIDTH = 4
"""Last columns of `query_numbers`: sine and cosine of the hour and of the weekday."""


class QueryEncoder(Encoder):
    """Turns feature rows into named arrays; what it never saw gets a default, never an error.

    The arrays, all with `num_rows` first:
        user: int32 `[num_rows]`. device: int32 `[num_rows]`.
        history: int32 `[num_rows, history_length]`, item ids, newest in the last column, 0 before the first.
        attributes: int32 `[num_rows, num_attributes]`, 0 after the last.
        taste: int32 `[num_rows, taste_length]`, category ids, with taste_weights: float32 of the same shape.
        query_numbers: float32 `[num_rows, num_query_numbers]`: activity, then hour and weekday as sine and cosine.
    """

    VOCABULARIES = ("user", "item", "attribute", "category", "device")
    FILE = "query_encoder.json"

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        item_vocabulary: Vocabulary,
        category_vocabulary: Vocabulary,
        num_oov_buckets: int,
        num_bins: int | None = None,
    ) -> "QueryEncoder":
        """Learn from training-window rows with the columns of `retrieval_v1`.

        Args:
            rows: feature rows of training-window labels.
            item_vocabulary: shared with the item side, so that a history id is an item id.
            category_vocabulary: shared with the item side, so that a taste is over the items' categories.
            num_oov_buckets: ids kept for unseen attributes and devices. Unseen users share one: nothing is known of
                them by their id, and two with equal inputs get equal answers.
            num_bins: bins of each number of `USER_NUMBERS`; None standardizes them.
        """

        def vocabulary(name: str, num_buckets: int = num_oov_buckets) -> Vocabulary:
            return Vocabulary.fit_parts(column_parts(rows, name), num_oov_buckets=num_buckets)

        vocabularies = {
            "user": vocabulary("user_id", 1),
            "item": item_vocabulary,
            "attribute": vocabulary("attributes"),
            "category": category_vocabulary,
            "device": vocabulary("device"),
        }
        lists = {"history": "recent_items", "attributes": "attributes", "taste": "taste_categories"}
        widths = {name: longest(rows, source) for name, source in lists.items()}
        return cls(vocabularies, widths, NumberEncoder.fit(rows, USER_NUMBERS, num_bins=num_bins))

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Input name -> (shape of one row, dtype)."""
        width = self.widths
        return {
            "user": ((), "int32"),
            "history": ((width["history"],), "int32"),
            "attributes": ((width["attributes"],), "int32"),
            "taste": ((width["taste"],), "int32"),
            "taste_weights": ((width["taste"],), "float32"),
            "device": ((), "int32"),
            "query_numbers": ((self.numbers.width + TIME_WIDTH,), "float32"),
        }

    def encode(self, features: Table) -> dict[str, NDArray[Any]]:
        """Return the arrays of the class docstring for `features` (any subset of the `retrieval_v1` user columns)."""
        n, known, width = features.num_rows, self.vocabularies, self.widths
        taste = column(features, "taste_categories")
        return {
            "user": _ids(known["user"], column(features, "user_id"), n),
            "history": known["item"].lookup_lists(
                column(features, "recent_items"), num_rows=n, width=width["history"], keep="last"
            ),
            "attributes": known["attribute"].lookup_lists(
                column(features, "attributes"), num_rows=n, width=width["attributes"]
            ),
            "taste": known["category"].lookup_lists(taste, num_rows=n, width=width["taste"]),
            "taste_weights": _weights(column(features, "taste_weights"), n, width["taste"]),
            "device": _ids(known["device"], column(features, "device"), n),
            "query_numbers": self._numbers(features),
        }

    def _numbers(self, features: Table) -> NDArray[np.float32]:
        parts = [
            self.numbers.encode(features),
            cyclic(numbers(features, "hour"), 24),
            cyclic(numbers(features, "weekday"), 7),
        ]
        return np.concatenate(parts, axis=1)


def longest(rows: Rows, name: str) -> int:
    """Return the length of the longest list of a column, at least 1."""
    lists = (part for part in column_parts(rows, name) if not pa.types.is_null(part.type))
    return max([1, *(int(list_lengths(part).max(initial=0)) for part in lists)])


def _ids(vocabulary: Vocabulary, values: pa.Array | None, num_rows: int) -> NDArray[np.int32]:
    return np.zeros(num_rows, dtype=np.int32) if values is None else vocabulary.lookup(values)


def _weights(lists: pa.Array | None, num_rows: int, width: int) -> NDArray[np.float32]:
    if lists is None or pa.types.is_null(lists.type):
        return np.zeros((num_rows, width), dtype=np.float32)
    flat = np.asarray(contiguous(elements(lists)).to_numpy(zero_copy_only=False), dtype=np.float32)
    return pad_lists(lists, np.clip(np.nan_to_num(flat), 0.0, 1.0), width=width)  # shares: what is not one is no share
