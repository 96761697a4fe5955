from typing import Any

import numpy as np
import pytest

from tests.contracts.keras_layer import KerasLayerContract

EMBEDDINGS = np.array([[[9.0, 9.0], [1.0, 0.0], [3.0, 2.0]], [[5.0, 5.0]] * 3], dtype=np.float32)
IDS = np.array([[0, 4, 7], [0, 0, 0]], dtype=np.int32)


def pooling(num_heads: int = 1) -> Any:
    from pipelines.models.layers.history_pooling import HistoryPooling

    layer = HistoryPooling(num_heads)
    layer.build([EMBEDDINGS.shape, IDS.shape])
    position, content = layer.get_weights()
    layer.set_weights([position, np.zeros_like(content)])
    return layer


class TestHistoryPooling(KerasLayerContract):
    def layer(self) -> Any:
        return pooling()

    def inputs(self) -> Any:
        return [EMBEDDINGS, IDS]

    def expected(self) -> Any:
        return [[2.0, 1.0], [0.0, 0.0]]  # the first head averages what is there; no history is zeros

    def wrong(self) -> Any:
        return [EMBEDDINGS, IDS[0]]


def test_later_heads_lean_to_the_newest():
    pooled = np.asarray(pooling(2)([EMBEDDINGS, IDS]))
    newest = EMBEDDINGS[0, -1]
    assert np.linalg.norm(pooled[0, 2:] - newest) < np.linalg.norm(pooled[0, :2] - newest)


def test_no_heads_are_refused():
    from pipelines.models.layers.history_pooling import HistoryPooling

    with pytest.raises(ValueError, match="num_heads=0; expected at least 1"):
        HistoryPooling(0)
