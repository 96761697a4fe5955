from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

EMBEDDINGS = np.array([[[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]], [[5.0, 5.0]] * 3], dtype=np.float32)
IDS = np.array([[4, 7, 0], [0, 0, 0]], dtype=np.int32)


def pooling() -> Any:
    from pipelines.models.layers.bag_pooling import BagPooling

    return BagPooling()


class TestMeanPooling(KerasLayerContract):
    def layer(self) -> Any:
        return pooling()

    def inputs(self) -> Any:
        return [EMBEDDINGS, IDS]

    def expected(self) -> Any:
        return [[2.0, 1.0], [0.0, 0.0]]  # padding does not count; an empty bag is zeros

    def wrong(self) -> Any:
        return [EMBEDDINGS[0], IDS]


class TestWeightedPooling(TestMeanPooling):
    def inputs(self) -> Any:
        return [EMBEDDINGS, IDS, np.array([[0.5, 0.25, 8.0], [1.0, 1.0, 1.0]], dtype=np.float32)]

    def expected(self) -> Any:
        return [[1.25, 0.5], [0.0, 0.0]]

    def wrong(self) -> Any:
        return [EMBEDDINGS, IDS, EMBEDDINGS]
