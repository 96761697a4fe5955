"""Bayesian personalized ranking: used items above items not used, by the `implicit` library."""

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.sequences import Sequences


class BprSettings(Section):
    """Size, steps and regularization."""

    num_factors: int = Field(64, ge=1, description="factors of a user and of an item")
    learning_rate: float = Field(0.02, gt=0, description="step of stochastic gradient descent")
    l2: float = Field(0.01, ge=0, description="penalty of factors")
    num_epochs: int = Field(60, ge=1, description="passes over the interactions")
    fold_in_l2: float = Field(1.0, gt=0, description="penalty of a query's factors when its history is folded in")


class Bpr(FactorRetriever):
    """Factors and item biases that rank used items above others.

    The library has no way to a user it never saw: a query's factors are the ridge regression of its items (1) against
    all others (0) on the items' factors. The last factor is the item's bias, and a query's share of it is 1.
    """

    card = ModelCard(
        name="bpr",
        family="factorization",
        needs="interactions",
        good_at="rankings where what was not used says little",
        source="Rendle and others, BPR: Bayesian personalized ranking from implicit feedback, UAI 2009",
    )
    Settings = BprSettings

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Descend with `implicit` on one thread, so that a seed decides all."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(
            factors=self.settings.num_factors,
            learning_rate=self.settings.learning_rate,
            regularization=self.settings.l2,
            iterations=self.settings.num_epochs,
            num_threads=1,
            random_state=options.seed,
        )
        model.fit(train.matrix(), show_progress=options.progress)
        return np.asarray(model.item_factors, dtype=np.float32)

    def fold_in(self, queries: Sequences) -> Floats:
        """Regress each history on the items' factors, all at once; the bias keeps its share."""
        factors = self.items[:, :-1]
        left = factors.T @ factors + self.settings.fold_in_l2 * np.eye(factors.shape[1])
        solved = np.linalg.solve(left, (queries.matrix() @ factors).T.astype(np.float64)).T
        return np.concatenate([solved, np.ones((len(queries), 1))], axis=1).astype(np.float32)
