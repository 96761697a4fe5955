"""SVD: the directions in which histories differ most."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.item_to_item import HistorySettings
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.retrievers.similarity import less_user_mean
from pipelines.models.sequences import Sequences

SAME_RATING = 1e-6  # what rounding leaves of a value less its own mean


class SvdSettings(HistorySettings):
    """Size, and what is factorized."""

    values: Literal["ones", "ratings"] = Field(
        "ones", description="what is factorized: that an item was used, or its rating less the user's mean"
    )
    num_factors: int = Field(64, ge=1, description="directions kept; fewer where there are fewer users or items")


class Svd(FactorRetriever):
    """A truncated singular value decomposition of users by items; a history is projected onto the items' directions.

    With `values: ratings` what a user likes less than their other items points the other way: items like it score low.
    A query that knows no values, as in serving, is projected as ones.
    """

    card = ModelCard(
        name="svd",
        family="factorization",
        needs="interactions; values for ratings",
        good_at="a factorization in seconds, nothing to tune but its size",
        source="Cremonesi and others, Performance of recommender algorithms on top-n tasks (PureSVD), RecSys 2010",
    )
    Settings = SvdSettings
    space = {"num_factors": "log:8..256", "history_decay": "0.7..1.0"}

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Return the right singular vectors, from a start drawn with the seed.

        Raises:
            TrainingError: ratings are wanted, and there are none, or nobody gave two different ones.
        """
        from scipy.sparse.linalg import svds

        rows = self._factorized(train).astype(np.float64)
        size = min(self.settings.num_factors, min(rows.shape) - 1)
        start = np.random.default_rng(options.seed).normal(size=min(rows.shape))
        return np.asarray(svds(rows, k=size, v0=start)[2].T, dtype=np.float32)

    def fold_in(self, queries: Sequences) -> Floats:
        """Return the projections of decayed histories."""
        weights = self.settings.history_decay**queries.ages
        if self.settings.values == "ratings" and queries.values is not None:
            weights = weights * less_user_mean(queries)
        return np.asarray(queries.matrix(weights) @ self.items, dtype=np.float32)

    def _factorized(self, train: Sequences) -> Any:
        """Return users by items, CSR float32 `[num_users, num_items]`: ones, or ratings less the user's mean."""
        if self.settings.values == "ones":
            return train.matrix()
        centred = None if train.values is None else less_user_mean(train)
        if centred is None or not np.abs(centred).max() > SAME_RATING:
            found = "no values" if centred is None else "the same value for all that a user rated"
            raise TrainingError(
                f"svd factorizes ratings less the user's mean, and the training data has {found}; expected users with "
                "different values. Train with retrieval.settings.values=ones"
            )
        return train.matrix(centred)

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Project the decayed history."""
        decay = self.settings.history_decay ** np.arange(graph.layout.history_length)
        return graph.op("MatMul", graph.weighted_history(decay), np.pad(self.items, ((1, 0), (0, 0))))
