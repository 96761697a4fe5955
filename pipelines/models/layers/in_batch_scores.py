"""Scores of every query of a batch against every item of it."""

from typing import Any

import keras
from keras import ops

EXCLUDED = -1e9


@keras.saving.register_keras_serializable("tandem")
class InBatchScores(keras.layers.Layer):
    """Logits for in-batch sampled softmax: the items of the other rows, and further ones, are a row's negatives.

    An item stands in a batch as often as it is popular; subtracting the log of that probability (log-Q correction)
    makes the logits estimate the softmax over the whole corpus. Another place with the same item is not a negative
    (accidental hit) and gets EXCLUDED, as do items of which `own` says so.

    Args:
        temperature: divides the dot products of unit vectors.

    Call: `[queries, items, item_ids, log_q]`, or with `own` after them: queries `[batch, embedding_dim]`, items
    `[num_items, embedding_dim]`, those of the queries first, integer item_ids `[num_items]`, float log_q `[num_items]`
    (log probability that the item is drawn), bool own `[batch, num_items]` -> logits `[batch, num_items]`, the
    positives on the diagonal.
    """

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}; expected above 0")
        self.temperature = temperature

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Check the ranks."""
        ranks = [len(shape) for shape in input_shape]
        if ranks not in ([2, 2, 1, 1], [2, 2, 1, 1, 2]):
            raise ValueError(f"inputs have ranks {ranks}; expected [queries 2, items 2, item_ids 1, log_q 1, own 2]")
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the logits."""
        queries, items, item_ids, log_q, *own = inputs
        scores = ops.matmul(queries, ops.transpose(items)) / self.temperature
        scores = ops.cast(scores, "float32") - ops.expand_dims(log_q, 0)
        rows, columns = ops.arange(ops.shape(queries)[0]), ops.arange(ops.shape(item_ids)[0])
        left_out = ops.expand_dims(item_ids, 0) == ops.expand_dims(item_ids[: ops.shape(queries)[0]], 1)
        for more in own:
            left_out = ops.logical_or(left_out, more)
        itself = ops.expand_dims(columns, 0) == ops.expand_dims(rows, 1)
        return ops.where(ops.logical_and(left_out, ops.logical_not(itself)), EXCLUDED, scores)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, num_items]`."""
        return (input_shape[0][0], input_shape[1][0])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature}
