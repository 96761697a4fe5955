"""Self-attention that looks back within its window."""

from typing import Any

import keras
from keras import ops

from pipelines.models.layers.windowed_mask import earlier_in_window

NEVER = -1e9


@keras.saving.register_keras_serializable("tandem")
class CausalAttention(keras.layers.Layer):
    """Multi-head self-attention over the earlier positions of the same window.

    After Vaswani et al. 2017 and SASRec (Kang and McAuley 2018); query, key and value come from one matrix product.

    Args:
        num_heads: heads; `dim` must be a multiple of it.
        dropout: share of attention weights dropped while training.
        seed: seed of the draws.

    Call: `[states, windows]`, states `[batch, length, dim]` and integer windows `[batch, length]` ->
    `[batch, length, dim]`.
    """

    def __init__(self, num_heads: int, dropout: float = 0.0, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout = dropout
        self.seed = seed
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the projections."""
        if [len(shape) for shape in input_shape] != [3, 2] or (input_shape[0][-1] or 0) % self.num_heads:
            raise ValueError(
                f"inputs have shapes {input_shape}; expected states [batch, length, dim] with dim a multiple of "
                f"{self.num_heads} heads, and windows [batch, length]"
            )
        dim = input_shape[0][-1] or 0
        self.project = self.add_weight(name="project", shape=(dim, 3 * dim), initializer=_by_fan_in(dim))
        self.merge = self.add_weight(name="merge", shape=(dim, dim), initializer=_by_fan_in(dim))
        self.built = True

    def call(self, inputs: list[Any], training: bool = False) -> Any:
        """Return the attended states."""
        states, windows = inputs
        length, dim = states.shape[1], states.shape[2]
        heads = ops.reshape(ops.matmul(states, self.project), (-1, length, 3, self.num_heads, dim // self.num_heads))
        query, key, value = (ops.transpose(heads[:, :, part], (0, 2, 1, 3)) for part in range(3))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * (dim // self.num_heads) ** -0.5
        allowed = ops.expand_dims(earlier_in_window(windows), 1)
        weights = ops.softmax(ops.where(allowed, ops.cast(scores, "float32"), NEVER))
        weights = self.drop(ops.cast(weights, states.dtype), training=training)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return ops.matmul(ops.reshape(attended, (-1, length, dim)), self.merge)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, length, dim]`."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}


def _by_fan_in(fan_in: int) -> Any:
    return keras.initializers.RandomNormal(stddev=fan_in**-0.5)
