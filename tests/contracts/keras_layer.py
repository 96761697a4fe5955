"""What every Keras layer of Tandem keeps: it calls, refuses wrong shapes, and survives config and disk."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class KerasLayerContract(ABC):
    """Subclass with `layer`, `inputs` (arrays for one call), `expected` (the output) and `wrong` (refused inputs)."""

    @abstractmethod
    def layer(self) -> Any: ...

    @abstractmethod
    def inputs(self) -> Any: ...

    @abstractmethod
    def expected(self) -> Any: ...

    @abstractmethod
    def wrong(self) -> Any: ...

    def test_call(self) -> None:
        np.testing.assert_allclose(_call(self.layer(), self.inputs()), self.expected(), rtol=1e-5, atol=1e-6)

    def test_shape_error(self) -> None:
        unbuilt = type(self.layer()).from_config(self.layer().get_config())
        with pytest.raises(ValueError, match="expected"):
            unbuilt(_tensors(self.wrong()))

    def test_config_round_trip(self) -> None:
        layer = self.layer()
        config = layer.get_config()
        rebuilt = type(layer).from_config(config)
        assert rebuilt.get_config() == config

    def test_saved_and_loaded_it_gives_equal_outputs(self, tmp_path: Path) -> None:
        import keras

        arrays = self.inputs() if isinstance(self.inputs(), list) else [self.inputs()]
        tensors = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in arrays]
        output = self.layer()(tensors if len(tensors) > 1 else tensors[0])
        model = keras.Model(tensors, output)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(model.predict_on_batch(arrays), loaded.predict_on_batch(arrays))


def _call(layer: Any, inputs: Any) -> np.ndarray:
    from keras import ops

    return ops.convert_to_numpy(layer(_tensors(inputs)))


def _tensors(inputs: Any) -> Any:
    from keras import ops

    if isinstance(inputs, list):
        return [ops.convert_to_tensor(array) for array in inputs]
    return ops.convert_to_tensor(inputs)
