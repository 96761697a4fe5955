"""Attention whose weights are not normalized: how much of a taste counts, not only its share."""

from typing import Any

import keras
from keras import ops

from pipelines.models.layers.windowed_mask import earlier_in_window


@keras.saving.register_keras_serializable("tandem")
class PointwiseAttention(keras.layers.Layer):
    """Hierarchical sequential transduction unit: `silu` in place of softmax, gated (HSTU, Zhai et al. 2024).

    `y = merge(drop(norm(attended) * gate))`, with attention `silu(q k + distance bias + bias) / length`.

    Args:
        num_heads: heads; `dim` must be a multiple of it.
        dropout: share dropped before the output projection while training.
        seed: seed of the draws.

    Call: `[states, windows, bias]`, states `[batch, length, dim]`, integer windows `[batch, length]` and bias
    broadcastable to `[batch, num_heads, length, length]` -> `[batch, length, dim]`.
    """

    def __init__(self, num_heads: int, dropout: float = 0.0, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout = dropout
        self.seed = seed
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the projections and the bias of each distance in steps."""
        if [len(shape) for shape in input_shape] != [3, 2, 4] or (input_shape[0][-1] or 0) % self.num_heads:
            raise ValueError(
                f"inputs have shapes {input_shape}; expected states [batch, length, dim] with dim a multiple of "
                f"{self.num_heads} heads, windows [batch, length] and bias [batch, heads, length, length]"
            )
        _, length, dim = input_shape[0]
        scale = keras.initializers.RandomNormal(stddev=(dim or 1) ** -0.5)
        self.project = self.add_weight(name="project", shape=(dim, 4 * (dim or 0)), initializer=scale)
        self.merge = self.add_weight(name="merge", shape=(dim, dim), initializer=scale)
        self.by_distance = self.add_weight(name="by_distance", shape=(self.num_heads, length), initializer="zeros")
        self.norm.build(input_shape[0])
        self.built = True

    def call(self, inputs: list[Any], training: bool = False) -> Any:
        """Return the attended and gated states."""
        states, windows, bias = inputs
        length, dim = states.shape[1], states.shape[2]
        head_dim = dim // self.num_heads
        parts = ops.silu(ops.matmul(states, self.project))
        heads = ops.transpose(
            ops.reshape(parts[:, :, dim:], (-1, length, 3, self.num_heads, head_dim)), (2, 0, 3, 1, 4)
        )
        query, key, value = heads[0], heads[1], heads[2]
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * head_dim**-0.5
        scores = scores + self._distance_bias(length) + ops.cast(bias, scores.dtype)
        allowed = ops.expand_dims(ops.cast(earlier_in_window(windows), scores.dtype), 1)
        # Shorter rows are divided alike: what a model learnt does not depend on the width it is asked with.
        attended = ops.matmul(ops.silu(scores) * allowed * (1.0 / self.by_distance.shape[1]), value)
        attended = self.norm(ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (-1, length, dim)))
        return ops.matmul(self.drop(attended * parts[:, :, :dim], training=training), self.merge)

    def _distance_bias(self, length: int) -> Any:
        """Return `[num_heads, length, length]`: the bias of how many steps lie between two positions."""
        places = ops.arange(length)
        distance = ops.maximum(ops.expand_dims(places, 1) - ops.expand_dims(places, 0), 0)
        return ops.take(ops.cast(self.by_distance, self.compute_dtype), distance, axis=1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, length, dim]`."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "dropout": self.dropout, "seed": self.seed}
