"""A recurrence over rows of several windows, which forgets at the start of each."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tandem")
class ResettingGRU(keras.layers.Layer):
    """Gated recurrent unit (Cho et al. 2014) whose state is zero where a window begins.

    Call: `[states, positions]`, states `[batch, length, dim]` and integer positions within the window
    `[batch, length]` -> `[batch, length, dim]`.
    """

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create input and recurrent weights; gates are reset, update, candidate."""
        if [len(shape) for shape in input_shape] != [3, 2]:
            raise ValueError(
                f"inputs have shapes {input_shape}; expected states [batch, length, dim], positions [batch, length]"
            )
        dim = input_shape[0][-1] or 0
        self.read = self.add_weight(name="read", shape=(dim, 3 * dim), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(3 * dim,), initializer="zeros")
        self.loop = keras.layers.RNN(
            _Step(dim, dtype=self.dtype_policy), return_sequences=True, dtype=self.dtype_policy
        )
        self.loop.build((*input_shape[0][:2], 3 * dim + 1))
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        """Return the state after each position."""
        states, positions = inputs
        # One product for all positions; only the recurrent part runs step by step.
        reads = ops.matmul(states, self.read) + self.bias
        keeps = ops.expand_dims(ops.cast(positions > 0, reads.dtype), 2)
        return self.loop(ops.concatenate([reads, keeps], axis=2))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return `[batch, length, dim]`."""
        return input_shape[0]


class _Step(keras.layers.Layer):
    """One step of the recurrence, as `keras.layers.RNN` runs it: exporters know that loop.

    Call: `[batch, 3 * dim + 1]`, the gates' inputs and 0 where a window begins, and the state `[batch, dim]` -> the new
    state, twice.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = dim
        self.output_size = dim

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the recurrent weights."""
        shape = (self.state_size, 3 * self.state_size)
        self.recall = self.add_weight(name="recall", shape=shape, initializer="orthogonal")
        self.built = True

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Return output and state."""
        dim = self.state_size
        state = states[0] * inputs[:, 3 * dim :]
        recalled = ops.matmul(state, self.recall)
        gates = ops.sigmoid(inputs[:, : 2 * dim] + recalled[:, : 2 * dim])
        candidate = ops.tanh(inputs[:, 2 * dim : 3 * dim] + gates[:, :dim] * recalled[:, 2 * dim :])
        state = gates[:, dim:] * state + (1 - gates[:, dim:]) * candidate
        return state, [state]
