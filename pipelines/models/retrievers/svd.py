"""SVD: the directions in which histories differ most."""

import numpy as np
from pydantic import Field

from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.item_to_item import HistorySettings
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences


class SvdSettings(HistorySettings):
    """Size."""

    num_factors: int = Field(64, ge=1, description="directions kept; fewer where there are fewer users or items")


class Svd(FactorRetriever):
    """A truncated singular value decomposition of users by items; a history is projected onto the items' directions."""

    card = ModelCard(
        name="svd",
        family="factorization",
        needs="interactions",
        good_at="a factorization in seconds, nothing to tune but its size",
        source="Cremonesi and others, Performance of recommender algorithms on top-n tasks (PureSVD), RecSys 2010",
    )
    Settings = SvdSettings
    space = {"num_factors": "log:8..256", "history_decay": "0.7..1.0"}

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Return the right singular vectors, from a start drawn with the seed."""
        from scipy.sparse.linalg import svds

        rows = train.matrix().astype(np.float64)
        size = min(self.settings.num_factors, min(rows.shape) - 1)
        start = np.random.default_rng(options.seed).normal(size=min(rows.shape))
        return np.asarray(svds(rows, k=size, v0=start)[2].T, dtype=np.float32)

    def fold_in(self, queries: Sequences) -> Floats:
        """Return the projections of decayed histories."""
        return np.asarray(queries.matrix(self.settings.history_decay**queries.ages) @ self.items, dtype=np.float32)

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Project the decayed history."""
        decay = self.settings.history_decay ** np.arange(graph.layout.history_length)
        return graph.op("MatMul", graph.weighted_history(decay), np.pad(self.items, ((1, 0), (0, 0))))
