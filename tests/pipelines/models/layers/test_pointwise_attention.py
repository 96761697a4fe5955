from typing import Any

import numpy as np
import pytest

from tests.contracts.keras_layer import KerasLayerContract

STATES = np.array([[[1.0, 0.5], [0.3, 2.0], [0.7, 0.1]]], dtype=np.float32)
WINDOWS = np.array([[1, 1, 2]], dtype=np.int32)
BIAS = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3) / 10


def silu(x: Any) -> Any:
    return x / (1 + np.exp(-x))


def weights() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, 8)), rng.normal(size=(2, 2)), rng.normal(size=(1, 3))]


def attention() -> Any:
    from pipelines.models.layers.pointwise_attention import PointwiseAttention

    layer = PointwiseAttention(1)
    layer.build([STATES.shape, WINDOWS.shape, BIAS.shape])
    layer.project.assign(weights()[0])
    layer.merge.assign(weights()[1])
    layer.by_distance.assign(weights()[2])
    return layer


class TestPointwiseAttention(KerasLayerContract):
    def layer(self) -> Any:
        return attention()

    def inputs(self) -> Any:
        return [STATES, WINDOWS, BIAS]

    def expected(self) -> Any:
        """The same in numpy, position by position."""
        project, merge, distance = weights()
        gate, query, key, value = np.split(silu(STATES[0] @ project), 4, axis=1)
        rows = []
        for asking in range(3):
            total = np.zeros(2)
            for asked in range(asking + 1):
                if WINDOWS[0, asking] == WINDOWS[0, asked]:
                    score = query[asking] @ key[asked] / np.sqrt(2) + distance[0, asking - asked]
                    total += silu(score + BIAS[0, 0, asking, asked]) * value[asked] / 3
            normed = (total - total.mean()) / np.sqrt(total.var() + 1e-6)
            rows.append((normed * gate[asking]) @ merge)
        return [rows]

    def wrong(self) -> Any:
        return [STATES, WINDOWS, BIAS[0]]

    def test_call(self) -> None:
        layer = attention()
        np.testing.assert_allclose(np.asarray(layer(self.inputs())), self.expected(), rtol=1e-3, atol=1e-4)


def test_heads_must_divide_the_states():
    from pipelines.models.layers.pointwise_attention import PointwiseAttention

    with pytest.raises(ValueError, match="a multiple of 3 heads"):
        PointwiseAttention(3).build([STATES.shape, WINDOWS.shape, BIAS.shape])
