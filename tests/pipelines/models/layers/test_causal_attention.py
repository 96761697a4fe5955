from typing import Any

import numpy as np
import pytest

from tests.contracts.keras_layer import KerasLayerContract

STATES = np.array([[[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]]], dtype=np.float32)
WINDOWS = np.array([[1, 1, 2]], dtype=np.int32)


def attention(num_heads: int = 1) -> Any:
    """Queries are zero, so each position averages what it may look at; values and output are passed through."""
    from pipelines.models.layers.causal_attention import CausalAttention

    layer = CausalAttention(num_heads)
    layer.build([STATES.shape, WINDOWS.shape])
    pass_values = np.concatenate([np.zeros((2, 4)), np.eye(2)], axis=1)
    layer.set_weights([pass_values, np.eye(2)])
    return layer


class TestCausalAttention(KerasLayerContract):
    def layer(self) -> Any:
        return attention()

    def inputs(self) -> Any:
        return [STATES, WINDOWS]

    def expected(self) -> Any:
        return [[[1.0, 0.0], [0.5, 1.0], [4.0, 4.0]]]  # alone; the mean of two; alone in its window

    def wrong(self) -> Any:
        return [STATES, WINDOWS[0]]


def test_heads_must_divide_the_states():
    from pipelines.models.layers.causal_attention import CausalAttention

    with pytest.raises(ValueError, match="a multiple of 3 heads"):
        CausalAttention(3).build([STATES.shape, WINDOWS.shape])
