"""SASRec: self-attention over a history."""

from typing import Any

from pydantic import Field

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.next_item_retriever import NextItemRetriever, NextItemSettings, presets_with


class SASRecSettings(NextItemSettings):
    """Settings of SASRec."""

    num_heads: int = Field(2, ge=1, description="attention heads; `dim` is a multiple of it")
    hidden_ratio: int = Field(1, ge=1, description="hidden units of the feed-forward part, in multiples of `dim`")


class SASRec(NextItemRetriever):
    """Self-attention over a history; with the loss `gbce`, gSASRec."""

    card = ModelCard(
        name="sasrec",
        family="sequential",
        needs="order of events",
        good_at="what comes next in long histories; short sessions too",
        source="Kang and McAuley 2018; full softmax as in Klenitskiy and Vasilev 2023; gBCE Petrov and Macdonald 2023",
    )
    Settings = SASRecSettings
    presets = presets_with(num_heads=1, learning_rate=1e-3)

    def body(self, *, seed: int, policy: Any) -> Any:
        """Return the attention blocks."""
        from pipelines.models.sequence_bodies import SelfAttentionBody

        s = self.settings
        return SelfAttentionBody(
            dim=s.dim, length=s.length, num_blocks=s.num_blocks, num_heads=s.num_heads, hidden_ratio=s.hidden_ratio,
            dropout=s.dropout, seed=seed, dtype=policy,
        )  # fmt: skip
