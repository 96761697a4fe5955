"""The mean of all that came before, within windows laid side by side."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class HistoryMean(keras.layers.Layer):
    """Averages, at each position, the embeddings of its window up to there; where nothing came before, zeros.

    Call: `[embeddings, items, windows]`, embeddings `[batch, length, dim]`, integer items `[batch, length]` (0 is
    nothing) and windows of the same shape (0 is padding) -> `[batch, length, dim]`.
    """

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Check the ranks."""
        ranks = [len(shape) for shape in input_shape]
        if ranks != [3, 2, 2]:
            raise ValueError(f"inputs have ranks {ranks}; expected [embeddings 3, items 2, windows 2]")
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the means."""
        embeddings, items, windows = inputs
        places = ops.arange(windows.shape[1], dtype="int32")
        before = ops.expand_dims(places, 1) >= ops.expand_dims(places, 0)
        same = ops.expand_dims(windows, 2) == ops.expand_dims(windows, 1)
        known = ops.logical_and(ops.expand_dims(items > 0, 1), ops.logical_and(same, before))
        counted = ops.cast(known, embeddings.dtype)
        shares = counted / ops.maximum(ops.sum(counted, axis=2, keepdims=True), 1.0)
        return ops.matmul(shares, embeddings)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, length, dim]`."""
        return input_shape[0]
