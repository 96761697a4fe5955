"""Weighted mean of a bag of embeddings."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class BagPooling(keras.layers.Layer):
    """Averages the embeddings of a padded bag of ids; an empty bag gives zeros.

    Call: `[embeddings, ids]` or `[embeddings, ids, weights]` with embeddings `[batch, bag_size, embedding_dim]`,
    integer ids `[batch, bag_size]` (0 is padding) and float weights `[batch, bag_size]` -> `[batch, embedding_dim]`.
    Without weights it is the mean over what is there; with weights the weighted sum, for shares that sum to at most 1.
    """

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Check the ranks."""
        ranks = [len(shape) for shape in input_shape]
        if ranks not in ([3, 2], [3, 2, 2]):
            raise ValueError(f"inputs have ranks {ranks}; expected [embeddings 3, ids 2] and optionally weights 2")
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the pooled embedding of each row."""
        embeddings, ids, *weights = inputs
        present = ops.cast(ids != 0, embeddings.dtype)
        if weights:
            shares = present * ops.cast(weights[0], embeddings.dtype)
        else:
            shares = present / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        return ops.sum(embeddings * ops.expand_dims(shares, -1), axis=1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, embedding_dim]`."""
        return (input_shape[0][0], input_shape[0][2])
