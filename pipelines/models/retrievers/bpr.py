"""Bayesian personalized ranking: used items above items not used, by the `implicit` library."""

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.query_graph import QueryGraph
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
    space = {
        "num_factors": [32, 64, 128],
        "learning_rate": "log:0.005..0.1",
        "l2": "log:0.001..0.1",
        "num_epochs": "20..120",
    }

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
        solved = queries.matrix() @ self._regression()
        return np.concatenate([solved, np.ones((len(queries), 1))], axis=1).astype(np.float32)

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Add up what each item of the history contributes; the bias stands in place 0."""
        bias = np.eye(1, self.items.shape[1], self.items.shape[1] - 1)
        table = np.concatenate([bias, np.pad(self._regression(), ((0, 0), (0, 1)))]).astype(np.float32)
        once = np.ones(graph.layout.history_length)
        return graph.op("MatMul", graph.weighted_history(once, constant=1), table)

    def _regression(self) -> Floats:
        """Return what each item of a history adds to a query's factors but the bias, `[num_items, num_factors]`."""
        factors = self.items[:, :-1]
        left = factors.T @ factors + self.settings.fold_in_l2 * np.eye(factors.shape[1])
        return np.asarray(np.linalg.solve(left, factors.T.astype(np.float64)).T, dtype=np.float32)
