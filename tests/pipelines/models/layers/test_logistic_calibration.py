from typing import Any

import numpy as np

from tests.contracts.keras_layer import KerasLayerContract

EVIDENCE = np.array([[-2.0, 1.0], [0.0, 0.0], [3.0, 2.0]], dtype=np.float32)


class TestLogisticCalibration(KerasLayerContract):
    def layer(self) -> Any:
        from pipelines.models.layers.logistic_calibration import LogisticCalibration

        layer = LogisticCalibration()
        layer.build((None, 2))
        layer.set_weights([np.array([0.5, 2.0]), np.array([-1.0])])
        return layer

    def inputs(self) -> Any:
        return EVIDENCE

    def expected(self) -> Any:
        return 1 / (1 + np.exp(-(EVIDENCE @ [[0.5], [2.0]] - 1.0)))

    def wrong(self) -> Any:
        return EVIDENCE[:, 0]


def test_training_does_not_touch_what_was_fitted():
    assert TestLogisticCalibration().layer().trainable_weights == []
