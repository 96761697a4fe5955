"""Weighted alternating least squares for implicit feedback, by the `implicit` library."""

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences

PRECISION = 1e-6  # of the solution within an exported graph


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
    presets = {"quality": {"num_factors": 96, "alpha": 4.0, "l2": 35.0}}
    space = {"num_factors": [32, 64, 128], "alpha": "log:1.0..100.0", "l2": "log:0.1..100.0"}

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

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Solve the least squares over the places of the history, which are fewer than the factors' squares.

        With `M = Y'Y + l2 I = (C C')^-1`, `Z = Y C` and the history's rows of it, the factors are `C Z' w` where
        `(I + (alpha - 1) Z Z') w = alpha`. No eigenvalue of `Z Z'` is above 1, since `Z'Z <= I`: between 1 and alpha,
        Chebyshev's iteration needs few steps and no inner product.
        """
        alpha, size = self.settings.alpha, self.items.shape[1]
        gram = self.items.T.astype(np.float64) @ self.items + self.settings.l2 * np.eye(size)
        inverse_root = np.linalg.inv(np.linalg.cholesky(gram)).T
        table = np.pad(self.items @ inverse_root, ((1, 0), (0, 0))).astype(np.float32)
        once = graph.op("Unsqueeze", graph.distinct, np.array([2]))
        rows = graph.op("Mul", graph.lookup(table, graph.history), once)
        columns = graph.op("Transpose", rows, perm=[0, 2, 1])
        products = graph.op("Mul", graph.op("MatMul", rows, columns), np.float32(alpha - 1))
        matrix = graph.op("Add", products, np.eye(graph.layout.history_length, dtype=np.float32))
        weights = _chebyshev(graph, matrix, graph.op("Mul", once, np.float32(alpha)), min(1.0, alpha), max(1.0, alpha))
        folded = graph.op("Squeeze", graph.op("MatMul", columns, weights), np.array([2]))
        return graph.op("MatMul", folded, inverse_root.T.astype(np.float32))


def _chebyshev(graph: QueryGraph, matrix: str, right: str, smallest: float, largest: float) -> str:
    """Return the solution of symmetric systems whose eigenvalues lie between two positive bounds.

    Source: Saad, Iterative methods for sparse linear systems, second edition, algorithm 12.1.
    """
    middle, half = (largest + smallest) / 2, max((largest - smallest) / 2, 1e-6)
    root = np.sqrt(largest / smallest)
    num_steps = int(np.ceil(np.log(2 / PRECISION) / np.log((root + 1) / max(root - 1, 1e-6))))
    solution = step = graph.op("Mul", right, np.float32(1 / middle))
    rest, rate = right, half / middle
    for _ in range(max(1, num_steps)):
        rest = graph.op("Sub", rest, graph.op("MatMul", matrix, step))
        following = 1 / (2 * middle / half - rate)
        step = graph.op(
            "Add",
            graph.op("Mul", step, np.float32(following * rate)),
            graph.op("Mul", rest, np.float32(2 * following / half)),
        )
        solution, rate = graph.op("Add", solution, step), following
    return solution
