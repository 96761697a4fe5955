"""The softmax network over averaged embeddings of a history: YouTube's candidate generation."""

from typing import Any

from pydantic import Field

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.next_item_retriever import NextItemRetriever, NextItemSettings


class YouTubeSettings(NextItemSettings):
    """Settings of the softmax network; the paper samples its softmax (`loss: sampled_softmax`)."""

    num_blocks: int = Field(1, ge=0, description="hidden layers, each with half the units of the one before")
    hidden_ratio: int = Field(2, ge=1, description="units of the last hidden layer, in multiples of `dim`")


class YouTube(NextItemRetriever):
    """Dense layers over the mean of a history's embeddings, trained to predict each next item.

    The order within a history does not count. Negatives of all kinds keep items that nobody uses together apart:
    where only items of the same kind stand against each other, other kinds fold onto them (Xin and others, Folding,
    2017). The full softmax and uniform negatives see every item; `in_batch` ones alone do not.
    """

    card = ModelCard(
        name="youtube",
        family="deep",
        needs="order of events",
        good_at="what somebody uses over a while, whatever the order; quick to train and to ask",
        source="Covington, Adams and Sargin, Deep neural networks for YouTube recommendations, RecSys 2016",
    )
    Settings = YouTubeSettings
    space = {"dim": [32, 64, 128], "num_blocks": "0..2", "dropout": "0.0..0.5", "learning_rate": "log:0.0003..0.005"}

    def body(self, *, seed: int, policy: Any) -> Any:
        """Return the mean and the dense layers."""
        from pipelines.models.sequence_bodies import AveragedBody

        s = self.settings
        units = tuple(s.dim * s.hidden_ratio * 2**block for block in reversed(range(s.num_blocks)))
        return AveragedBody(hidden_units=units, dropout=s.dropout, seed=seed, dtype=policy)
