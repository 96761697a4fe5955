from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

CANDIDATE = np.array([[1.0, 0.0], [1.0, 1.0]], dtype=np.float32)
EMBEDDINGS = np.array([[[8.0, 8.0], [2.0, 1.0], [4.0, 0.0]], [[5.0, 5.0]] * 3], dtype=np.float32)
IDS = np.array([[0, 3, 5], [0, 0, 0]], dtype=np.int32)


class TestHistorySimilarity(KerasLayerContract):
    def layer(self) -> Any:
        from pipelines.models.layers.history_similarity import HistorySimilarity

        return HistorySimilarity()

    def inputs(self) -> Any:
        return [CANDIDATE, EMBEDDINGS, IDS]

    def expected(self) -> Any:
        return [[0.0, 2.0, 4.0, 4.0, 3.0], [0.0] * 5]  # by position, highest, mean

    def wrong(self) -> Any:
        return [CANDIDATE[0], EMBEDDINGS, IDS]
