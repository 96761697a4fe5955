"""Weighted alternating least squares for implicit feedback, by the `implicit` library."""

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.sequences import Sequences


class AlsSettings(Section):
    """Size, weight of what was used, and regularization."""

    num_factors: int = Field(64, ge=1, description="factors of a user and of an item")
    alpha: float = Field(10.0, gt=0, description="weight of a used item, beside 1 of one not used")
    l2: float = Field(10.0, gt=0, description="penalty of factors")
    num_sweeps: int = Field(15, ge=1, description="times that users and items are solved in turn")


class Als(FactorRetriever):
    """Factors that restore which items were used, used ones weighing more; a history is solved for as a user is."""

    card = ModelCard(
        name="als",
        family="factorization",
        needs="interactions",
        good_at="large sparse data; vectors for an index",
        source="Hu, Koren and Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008",
    )
    Settings = AlsSettings

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Solve users and items in turn with `implicit`, exactly and on one thread, so that a seed decides all."""
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        # The library warns of more BLAS threads: they slow its many small solutions down.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self.settings.num_factors,
                regularization=self.settings.l2,
                alpha=self.settings.alpha,
                iterations=self.settings.num_sweeps,
                use_cg=False,
                num_threads=1,
                random_state=options.seed,
            )
            model.fit(train.matrix(), show_progress=options.progress)
        return np.asarray(model.item_factors, dtype=np.float32)

    def fold_in(self, queries: Sequences) -> Floats:
        """Solve each history's least squares, all at once."""
        size = self.items.shape[1]
        used = queries.matrix()
        squares = (self.items[:, :, None] * self.items[:, None, :]).reshape(-1, size * size)
        left = (used @ squares).reshape(-1, size, size) * (self.settings.alpha - 1) + self.items.T @ self.items
        right = self.settings.alpha * (used @ self.items)
        solved = np.linalg.solve(left + self.settings.l2 * np.eye(size), right[..., None].astype(np.float64))
        return np.asarray(solved[..., 0], dtype=np.float32)
