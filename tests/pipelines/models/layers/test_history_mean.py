from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

EMBEDDINGS = np.array([[[9.0], [2.0], [4.0], [8.0]], [[6.0], [1.0], [3.0], [9.0]]], dtype=np.float32)
ITEMS = np.array([[0, 1, 2, 3], [5, 0, 7, 0]], dtype=np.int32)
WINDOWS = np.array([[1, 1, 1, 1], [1, 2, 2, 0]], dtype=np.int32)


class TestHistoryMean(KerasLayerContract):
    def layer(self) -> Any:
        from pipelines.models.layers.history_mean import HistoryMean

        return HistoryMean()

    def inputs(self) -> Any:
        return [EMBEDDINGS, ITEMS, WINDOWS]

    def expected(self) -> Any:
        # Nothing yet is zeros; a window knows nothing of the one beside it.
        return [[[0.0], [2.0], [3.0], [14 / 3]], [[6.0], [0.0], [3.0], [0.0]]]

    def wrong(self) -> Any:
        return [EMBEDDINGS, ITEMS, EMBEDDINGS]
