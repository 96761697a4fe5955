"""How like a candidate the items of a user's history are."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class HistorySimilarity(keras.layers.Layer):
    """Compares a candidate with each item of the history: one by one, so that recent ones can count for more.

    Call: `[candidate, embeddings, ids]` with candidate `[batch, embedding_dim]`, embeddings
    `[batch, history_length, embedding_dim]` and integer ids `[batch, history_length]` (newest last, 0 is padding) ->
    dot products `[batch, history_length + 2]`: of each position, the highest, the mean. No history gives zeros.
    """

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Check the ranks."""
        ranks = [len(shape) for shape in input_shape]
        if ranks != [2, 3, 2]:
            raise ValueError(f"inputs have ranks {ranks}; expected [candidate 2, embeddings 3, ids 2]")
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the similarities of each row."""
        candidate, embeddings, ids = inputs
        present = ops.cast(ids != 0, embeddings.dtype)
        similarity = ops.sum(embeddings * ops.expand_dims(candidate, 1), axis=-1) * present
        highest = ops.max(similarity, axis=1, keepdims=True)
        mean = ops.sum(similarity, axis=1, keepdims=True) / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0)
        return ops.concatenate([similarity, highest, mean], axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, history_length + 2]`."""
        batch, history_length, _ = input_shape[1]
        return (batch, (history_length or 0) + 2)
