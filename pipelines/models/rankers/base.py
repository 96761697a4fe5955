"""The contract of every ranking network: from the features of a pair to what each task is told from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.config import Section
from pipelines.models.retrievers.base import ModelCard


@dataclass(frozen=True)
class DenseLayers:
    """Dense layers with dropout, as configured for all rankers.

    Attributes:
        units: of each layer.
        dropout: share of units left out while training.
        seed: of the run.
        precision: what they compute in; what their outputs are told from is float32.
    """

    units: tuple[int, ...]
    dropout: float
    seed: int
    precision: str = "float32"

    def __call__(self, inputs: Any, *, place: int = 0) -> Any:
        """Return the last layer over `inputs`, `[batch, units[-1]]`.

        Args:
            inputs: `[batch, width]`.
            place: number of this stack in the network; stacks of equal seeds would drop the same units.
        """
        import keras

        for position, units in enumerate(self.units):
            inputs = keras.layers.Dense(units, activation="silu", dtype=self.precision)(inputs)
            seed = self.seed * 1_000 + 111 + 10 * place + position
            inputs = keras.layers.Dropout(self.dropout, seed=seed, dtype=self.precision)(inputs)
        return inputs


class Ranker(ABC):
    """A ranking network: names its `card` and frozen `Settings`, and builds its layers in one method.

    Inputs, embeddings, outputs, calibration and export are the same for all: see `build_ranker`.
    """

    card: ClassVar[ModelCard]
    Settings: ClassVar[type[Section]]

    def __init__(self, settings: Any = None) -> None:
        """Take the settings; None takes the defaults."""
        self.settings: Any = settings if settings is not None else self.Settings()

    @abstractmethod
    def layers(self, features: Any, dense: DenseLayers) -> tuple[Any, Any]:
        """Return what the interaction and what its value is told from, by one linear layer each.

        Args:
            features: Keras tensor of everything known of a pair, `[batch, width]`.
            dense: the configured dense layers.

        Returns:
            Two Keras tensors `[batch, units]`, which may be the same one.
        """
