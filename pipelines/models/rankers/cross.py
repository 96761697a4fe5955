"""Deep and cross network, version 2."""

from typing import Any, Literal

from pydantic import Field

from pipelines.config import Section
from pipelines.models.rankers.base import DenseLayers, Ranker
from pipelines.models.retrievers.base import ModelCard


class CrossSettings(Section):
    """The cross layers and where the dense layers stand."""

    num_cross_layers: int = Field(2, ge=1, description="layers that multiply features; each raises the degree by one")
    projection_dim: int | None = Field(16, ge=1, description="rank of their matrices; None is full rank")
    structure: Literal["stacked", "parallel"] = Field(
        "stacked", description="dense layers over the crossed features, or beside them over the plain ones"
    )


class Cross(Ranker):
    """Cross layers `x0 * (W x + b) + x`, then or beside them the deep network; both tasks are told from both."""

    card = ModelCard(
        name="cross",
        family="deep and cross",
        needs="pairs of the ranking set",
        good_at="the default: what counts is combinations of features, such as a taste and a category",
        source="Wang et al. 2021, DCN V2",
    )
    Settings = CrossSettings

    def layers(self, features: Any, dense: DenseLayers) -> tuple[Any, Any]:
        """Return the cross layers' output with the dense layers over or beside it, for both tasks."""
        import keras
        import keras_rs

        crossed = features
        for _ in range(self.settings.num_cross_layers):
            crossed = keras_rs.layers.FeatureCross(projection_dim=self.settings.projection_dim)(features, crossed)
        if self.settings.structure == "stacked":
            hidden = dense(crossed)
        else:
            hidden = keras.layers.Concatenate()([crossed, dense(features)])
        return hidden, hidden
