"""Several pieces of evidence to one probability, inside the graph."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class LogisticCalibration(keras.layers.Layer):
    """Weighs pieces of evidence into a probability: sigmoid(sum of weight * evidence + shift).

    The weights are fitted after training, on data that no piece was trained on; training does not touch them. The
    exported graph carries them, so serving cannot forget to calibrate.

    Call: evidence `[batch, num_evidence]` -> probability `[batch, 1]`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights."""
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(f"evidence has shape {input_shape}; expected [batch, num_evidence]")
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones", trainable=False)
        self.shift = self.add_weight(name="shift", shape=(1,), initializer="zeros", trainable=False)
        self.built = True

    def call(self, evidence: Any) -> Any:
        """Return the probability of each row."""
        return ops.sigmoid(ops.sum(evidence * self.scale, axis=1, keepdims=True) + self.shift)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[batch, 1]`."""
        return (input_shape[0], 1)
