"""How much an earlier event counts by how long ago it was."""

from typing import Any

import keras
from keras import ops

BASE = 0.301  # as in HSTU's published code: the next bucket begins at 1.35 times the seconds


@keras.saving.register_keras_serializable("tandem")
class RelativeBias(keras.layers.Layer):
    """Learned attention bias of the logarithm of elapsed seconds (HSTU, Zhai et al. 2024).

    Times that are not known have a bias of their own.

    Args:
        num_heads: heads, each with biases of its own.
        num_buckets: buckets of elapsed time; the last holds all longer times.

    Call: `[asked, happened]`, integer seconds `[batch, length]` at which each position asks and at which what it reads
    happened, negative where not known -> biases
    `[batch, num_heads, length (asking), length (asked about)]`.
    """

    def __init__(self, num_heads: int, num_buckets: int = 72, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_buckets = num_buckets

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the tables."""
        if [len(shape) for shape in input_shape] != [2, 2]:
            raise ValueError(f"inputs have shapes {input_shape}; expected twice [batch, length]")
        shape = (self.num_buckets + 1, self.num_heads)
        self.by_time = self.add_weight(name="by_time", shape=shape, initializer="zeros")
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the biases."""
        asked, happened = inputs
        elapsed = ops.cast(ops.expand_dims(asked, 2) - ops.expand_dims(happened, 1), "float32")
        bucket = ops.cast(ops.log(ops.maximum(elapsed, 1.0)) / BASE, "int32")
        unknown = ops.expand_dims(asked, 2) < 0
        bucket = ops.where(unknown, self.num_buckets, ops.minimum(bucket, self.num_buckets - 1))
        biases = [ops.take(self.by_time[:, head], bucket) for head in range(self.num_heads)]
        return ops.stack(biases, axis=1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, num_heads, length, length]`."""
        batch, length = input_shape[0]
        return (batch, self.num_heads, length, length)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "num_buckets": self.num_buckets}
