"""The query side of a next-item model, as serving asks it: a history alone."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.models.packing import UNKNOWN


class NewestState(keras.layers.Layer):
    """The state after the newest item of one history a row.

    Args:
        model: a built `NextItem`.
        timed: whether it reads times; here they are not known.

    Call: integer history `[batch, width]`, right-aligned, 0 for nothing and `1 + item` -> `[batch, dim]`.
    """

    def __init__(self, model: Any, *, timed: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.timed = timed

    def call(self, history: Any) -> Any:
        """Return the states."""
        width = history.shape[1]
        places = ops.expand_dims(ops.arange(width, dtype="int32"), 0)
        count = ops.sum(ops.cast(history > 0, "int32"), axis=1, keepdims=True)
        # One column before the oldest item stands for "nothing yet", as in training.
        first = ops.maximum(width - 1 - count, 0)
        arrays = {
            "inputs": history,
            "windows": ops.cast(places >= first, "int32"),
            "positions": ops.maximum(places - first, 0),
        }
        if self.timed:
            unknown = ops.full_like(history, UNKNOWN)
            arrays |= {"input_times": unknown, "target_times": unknown}
        return ops.cast(self.model(arrays)[:, -1], "float32")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[batch, dim]`."""
        return (input_shape[0], self.model.dim)


def query_tower(model: Any, *, width: int, timed: bool) -> Any:
    """Return a Keras model from `history` `[batch, width]` to the query vector `[batch, dim]`."""
    history = keras.Input((width,), dtype="int32", name="history")
    return keras.Model({"history": history}, NewestState(model, timed=timed)(history))


def example_histories(num_items: int, width: int) -> dict[str, Any]:
    """Return histories of every length up to the width, for checking an export."""
    lengths = np.arange(width + 1)[:, None]
    places = np.arange(width)[None, :]
    items = 1 + (lengths * 7 + places) % num_items
    return {"history": np.where(places >= width - lengths, items, 0).astype(np.int32)}
