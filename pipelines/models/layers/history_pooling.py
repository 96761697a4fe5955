"""Attention pooling of an ordered history."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class HistoryPooling(keras.layers.Layer):
    """Pools the embeddings of recent items by learned weights of position and content; no history gives zeros.

    Args:
        num_heads: independent poolings, concatenated.

    Call: `[embeddings, ids]`, embeddings `[batch, history_length, embedding_dim]` and integer ids
    `[batch, history_length]`, newest last, 0 is padding -> `[batch, num_heads * embedding_dim]`.
    """

    def __init__(self, num_heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(f"num_heads={num_heads}; expected at least 1")
        self.num_heads = num_heads

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the position and content weights."""
        if [len(shape) for shape in input_shape] != [3, 2]:
            raise ValueError(
                f"inputs have shapes {input_shape}; expected embeddings [batch, history_length, "
                "embedding_dim] and ids [batch, history_length]"
            )
        _, history_length, embedding_dim = input_shape[0]
        self.position = self.add_weight(
            name="position", shape=(history_length, self.num_heads), initializer=_recency(self.num_heads)
        )
        self.content = self.add_weight(
            name="content", shape=(embedding_dim, self.num_heads), initializer="glorot_uniform"
        )
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the pooled history of each row."""
        embeddings, ids = inputs
        present = ops.expand_dims(ops.cast(ids != 0, embeddings.dtype), -1)
        logits = ops.matmul(embeddings, self.content) + self.position - 1e9 * (1.0 - present)
        weights = ops.softmax(logits, axis=1) * present
        pooled = ops.matmul(ops.transpose(weights, (0, 2, 1)), embeddings)
        return ops.reshape(pooled, (-1, self.num_heads * embeddings.shape[-1]))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, num_heads * embedding_dim]`."""
        batch, _, embedding_dim = input_shape[0]
        return (batch, self.num_heads * (embedding_dim or 0))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads}


def _recency(num_heads: int) -> Any:
    """Return an initializer: head 0 averages, each further head starts with its weight halving faster into the past."""

    def initialize(shape: tuple[int, ...], dtype: Any = None) -> Any:
        age = ops.cast(ops.arange(shape[0] - 1, -1, -1), dtype or "float32")
        rate = ops.cast(ops.arange(num_heads), dtype or "float32") * 0.35
        return -ops.expand_dims(age, 1) * ops.expand_dims(rate, 0)

    return initialize
