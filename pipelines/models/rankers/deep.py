"""Dense layers over all features."""

from typing import Any

from pipelines.config import Section
from pipelines.models.rankers.base import DenseLayers, Ranker
from pipelines.models.retrievers.base import ModelCard


class DeepSettings(Section):
    """None of its own: `ranking.hidden_units` and the other settings of all rankers say it all."""


class Deep(Ranker):
    """A deep network; both tasks are told from its last layer."""

    card = ModelCard(
        name="deep",
        family="deep",
        needs="pairs of the ranking set",
        good_at="the plainest network, to hold the others against; quickest to train and to serve",
        source="Covington et al. 2016, Deep neural networks for YouTube recommendations",
    )
    Settings = DeepSettings

    def layers(self, features: Any, dense: DenseLayers) -> tuple[Any, Any]:
        """Return the last dense layer, for both tasks."""
        hidden = dense(features)
        return hidden, hidden
