from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

STATES = np.array([[[1.0, 0.5], [0.3, 2.0], [0.7, 0.1]]], dtype=np.float32)
POSITIONS = np.array([[0, 1, 0]], dtype=np.int32)


def weights() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, 6)), rng.normal(size=(2, 6)), rng.normal(size=6)]


def recurrence() -> Any:
    from pipelines.models.layers.resetting_gru import ResettingGRU

    layer = ResettingGRU()
    layer.build([STATES.shape, POSITIONS.shape])
    read, recall, bias = weights()
    layer.set_weights([read, bias, recall])
    return layer


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class TestResettingGRU(KerasLayerContract):
    def layer(self) -> Any:
        return recurrence()

    def inputs(self) -> Any:
        return [STATES, POSITIONS]

    def expected(self) -> Any:
        """The same in numpy, step by step."""
        read, recall, bias = weights()
        state, rows = np.zeros(2), []
        for inputs, position in zip(STATES[0], POSITIONS[0], strict=True):
            state = state * (position > 0)
            given, kept = inputs @ read + bias, state @ recall
            reset, update = sigmoid(given[:2] + kept[:2]), sigmoid(given[2:4] + kept[2:4])
            state = update * state + (1 - update) * np.tanh(given[4:] + reset * kept[4:])
            rows.append(state)
        return [rows]

    def wrong(self) -> Any:
        return [STATES, POSITIONS[0]]
