from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

ASKED = np.array([[0, 100], [-1, -1]], dtype=np.int32)
HAPPENED = np.array([[0, 0], [-1, -1]], dtype=np.int32)


def bias() -> Any:
    """Two heads; the bias of a bucket is its number, negative in the second head."""
    from pipelines.models.layers.relative_bias import RelativeBias

    layer = RelativeBias(2, num_buckets=10)
    layer.build([ASKED.shape, HAPPENED.shape])
    layer.set_weights([np.arange(11)[:, None] * np.array([[1.0, -1.0]])])
    return layer


class TestRelativeBias(KerasLayerContract):
    def layer(self) -> Any:
        return bias()

    def inputs(self) -> Any:
        return [ASKED, HAPPENED]

    def expected(self) -> Any:
        # 100 s lie beyond the last bucket, 9; what is asked before it happened counts as now; unknown has bucket 10.
        known = np.array([[0.0, 0.0], [9.0, 9.0]])
        return np.stack([np.stack([known, -known]), np.stack([np.full((2, 2), 10.0), np.full((2, 2), -10.0)])])

    def wrong(self) -> Any:
        return [ASKED, HAPPENED[0]]


def test_buckets_grow_with_the_logarithm_of_time():
    elapsed = np.array([[1, 2, 5, 14]], dtype=np.int32)
    happened = np.zeros((1, 4), dtype=np.int32)
    biases = np.asarray(bias()([elapsed, happened]))[0, 0, :, 0]
    assert biases.tolist() == [0.0, 2.0, 5.0, 8.0]
