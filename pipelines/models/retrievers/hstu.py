"""HSTU: pointwise attention that knows how long ago things happened."""

from typing import Any

from pydantic import Field

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.next_item_retriever import NextItemRetriever, NextItemSettings, presets_with
from pipelines.models.sequences import Sequences


class HSTUSettings(NextItemSettings):
    """Settings of HSTU."""

    num_heads: int = Field(2, ge=1, description="attention heads; `dim` is a multiple of it")
    use_times: bool = Field(True, description="learn from elapsed time where times are known")
    hidden_times: float = Field(
        0.1, ge=0, lt=1, description="share of training windows without times, for requests that do not know them"
    )


class HSTU(NextItemRetriever):
    """Pointwise-aggregated attention with relative positions and times."""

    card = ModelCard(
        name="hstu",
        family="sequential",
        needs="order of events; times of events and of the request where there are any",
        good_at="what comes next when the moment of asking says much, as in sessions and habits",
        source="Zhai et al. 2024, Actions speak louder than words",
    )
    Settings = HSTUSettings
    presets = presets_with(num_heads=2, learning_rate=2e-3)

    def uses_times(self, train: Sequences) -> bool:
        """Return whether there are times and the settings want them."""
        return self.settings.use_times and train.times is not None

    @property
    def hidden_times(self) -> float:
        """Share of training windows whose times are kept from the model."""
        return float(self.settings.hidden_times)

    def body(self, *, seed: int, policy: Any) -> Any:
        """Return the units."""
        from pipelines.models.sequence_bodies import PointwiseAttentionBody

        s = self.settings
        return PointwiseAttentionBody(
            num_blocks=s.num_blocks, num_heads=s.num_heads, dropout=s.dropout, timed=self.timed, seed=seed, dtype=policy
        )
