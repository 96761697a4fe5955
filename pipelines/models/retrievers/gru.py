"""GRU4Rec: a recurrence over a history."""

from typing import Any

from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.next_item_retriever import NextItemRetriever


class GRU(NextItemRetriever):
    """Gated recurrent units over a history."""

    card = ModelCard(
        name="gru",
        family="sequential",
        needs="order of events",
        good_at="what comes next in short sessions",
        source="Hidasi et al. 2016, Session-based recommendations with recurrent neural networks",
    )

    def body(self, *, seed: int, policy: Any) -> Any:
        """Return the recurrent layers."""
        from pipelines.models.sequence_bodies import RecurrentBody

        s = self.settings
        return RecurrentBody(num_blocks=s.num_blocks, dropout=s.dropout, seed=seed, dtype=policy)
