"""The network that predicts a next item at every position, and what it is trained by."""

from typing import Any

import keras
from keras import ops

from pipelines.models.devices import total
from pipelines.models.next_item_losses import full_softmax, generalized_bce, sampled_softmax

Array = Any


class NextItem(keras.Model):
    """An item table, a body that turns inputs into states, and a loss over the next items.

    The table is both what is read and what is scored against, so states lie in the items' space.

    Args:
        body: layer that turns embeddings `[batch, length, dim]` and the packed arrays into states of the same shape.
        num_items: items of the corpus.
        dim: length of embeddings and states.
        dropout: share of embedding units dropped while training.
        loss: `softmax`, `sampled_softmax` or `gbce`.
        calibration: `t` of gBCE.
        log_q: log of the expected number of draws of each item, `[num_items]`, for the sampled softmax.
        seed: seed of weights and draws.

    Call: arrays of `Steps.arrays` -> states `[batch, length, dim]`.
    """

    shared_inputs = ("negatives",)

    def __init__(
        self, body: Any, num_items: int, dim: int, *, dropout: float, loss: str, calibration: float, log_q: Array,
        seed: int, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.body = body
        self.num_items = num_items
        self.dim = dim
        self.loss_name = loss
        self.calibration = calibration
        self.log_q = log_q
        # Row 0 stands for "nothing yet".
        self.table = keras.layers.Embedding(
            num_items + 1, dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02, seed=seed),
            dtype=self.dtype_policy,
        )  # fmt: skip
        self.table.build(None)
        self.drop = keras.layers.Dropout(dropout, seed=seed + 1, dtype=self.dtype_policy)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Return the states."""
        embeddings = self.table(inputs["inputs"]) * self.dim**0.5
        return self.body(self.drop(embeddings, training=training), inputs, training=training)

    def build(self, input_shape: Any) -> None:
        """Create nothing: calling the model once builds the body."""
        self.built = True

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the mean loss over the batch's positions that are not padding; with several devices, a share of it."""
        states = ops.reshape(ops.cast(y_pred, "float32"), (-1, self.dim))
        items = ops.cast(self.table.embeddings, "float32")[1:]
        targets = ops.reshape(x["targets"], (-1,))
        if self.loss_name == "softmax":
            losses = full_softmax(states, items, targets)
        elif self.loss_name == "sampled_softmax":
            losses = sampled_softmax(states, items, targets, x["negatives"], ops.convert_to_tensor(self.log_q))
        else:
            losses = generalized_bce(states, items, targets, x["negatives"], calibration=self.calibration)
        present = ops.reshape(ops.cast(x["windows"] > 0, "float32"), (-1,))
        return ops.sum(losses * present) / ops.maximum(total(ops.sum(present)), 1.0)
