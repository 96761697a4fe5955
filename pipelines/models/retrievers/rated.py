"""Rating models as retrievers: items in order of the rating they are predicted to get."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.errors import TrainingError
from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Ratings
from pipelines.models.ratings.biased_factors import BiasedFactors, BiasedFactorSettings
from pipelines.models.ratings.camf import Camf, CamfSettings
from pipelines.models.ratings.factors import FactorModel
from pipelines.models.retrievers.base import Fitted, Floats, Retriever, RunOptions, Validation, require_interactions
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences

NUM_STEPS = 100  # of the least squares from histories to factors


class RatedSettings(BiasedFactorSettings):
    """Those of the rating model, and how users it does not know are placed."""

    history_l2: float = Field(10.0, gt=0, description="penalty of what a history says of the factors of a new user")


class RatedCamfSettings(CamfSettings, RatedSettings):
    """The same for a rating model with context."""


class RatingRetriever(Retriever):
    """Scores items by their predicted rating, which is an inner product.

    `mean + user bias + item bias + user factors . item factors + deviations of the conditions`: a query is
    `(level, 1, user factors, conditions)`, an item `(1, bias, factors, deviations)`. Predictions are not cut to the
    range of ratings, which would make ties.

    A user the model does not know has the mean user's factors, moved by what their history says of them: which items
    known users rated, times weights that restore these users' factors best.
    """

    model: ClassVar[type[FactorModel]]
    learned = ("users", "items", "of_history", "user_deviations")

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.users, self.items, self.of_history, self.user_deviations = (np.zeros((1, 2), np.float32) for _ in range(4))

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Fit the rating model, then place users it does not know."""
        model = self.model(self.settings)
        model.fit(_ratings(train, self.card.name), seed=options.seed)
        users, items = model.factors.users[0], model.factors.items[0]
        stranger = users[train.lengths > 0].mean(axis=0)
        self.users = np.vstack([stranger, users]).astype(np.float32)
        self.users[:, 0] += model.mean
        self.of_history = _of_history(train, self.users[1:, 1:] - self.users[0, 1:], self.settings.history_l2)
        of_users, of_items = self.deviations(model, train)
        self.user_deviations = of_users.astype(np.float32)
        self.items = np.hstack([items, of_items]).astype(np.float32)
        sizes = (self.users, self.items, self.of_history, self.user_deviations)
        return Fitted(figures={"num_parameters": float(sum(array.size for array in sizes))})

    def deviations(self, model: Any, train: Sequences) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return deviations of users, the first of which is one not known, and of items: none.

        Returns:
            `[1 + num_users, num_conditions]` and `[num_items, num_conditions]`.
        """
        return np.zeros((1 + len(train), 0)), np.zeros((train.num_items, 0))

    def score(self, queries: Sequences) -> Floats:
        """Return predicted ratings of all items, `[num_queries, num_items]`."""
        rows = np.where(queries.users < len(self.users) - 1, queries.users + 1, 0)
        users = self.users[rows]
        users[:, 1:] += _history_shares(queries) @ self.of_history * (rows == 0)[:, None]
        conditions = self._conditions(queries.asked_in, len(queries))
        level = users[:, :1] + (self.user_deviations[rows] * conditions).sum(axis=1, keepdims=True)
        query = np.hstack([np.ones_like(level), users[:, 1:], conditions])
        return np.asarray(level + query @ self.items.T, dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write both sides."""
        graph = QueryGraph(layout)
        users = graph.lookup(self.users, graph.user)
        width = self.users.shape[1]
        level = graph.op("Gather", users, np.array([0]), axis=1)
        factors = graph.op("Gather", users, np.arange(1, width), axis=1)
        parts = [graph.repeated(np.ones(1)), graph.op("Add", factors, self._history_graph(graph))]
        if self.user_deviations.shape[1]:
            moved = graph.op("Mul", graph.lookup(self.user_deviations, graph.user), graph.conditions)
            level = graph.op("Add", level, graph.op("ReduceSum", moved, np.array([1]), keepdims=1))
            parts.append(graph.conditions)
        graph.save(folder, graph.op("Concat", level, *parts, axis=1), 1 + self.items.shape[1])
        save_item_vectors(folder, layout, np.pad(self.items, ((0, 0), (1, 0)), constant_values=1))

    def _history_graph(self, graph: QueryGraph) -> str:
        """Add what a history says of the factors of a user who is not known; returns `[batch, num_factors]`."""
        once = graph.op("Unsqueeze", graph.distinct, np.array([2]))
        rows = graph.op("Mul", graph.lookup(np.pad(self.of_history, ((1, 0), (0, 0))), graph.history), once)
        total = graph.op("ReduceSum", rows, np.array([1]), keepdims=0)
        count = graph.op("Max", graph.op("ReduceSum", graph.distinct, np.array([1]), keepdims=1), np.float32(1))
        stranger = np.zeros((len(self.users), 1), np.float32)
        stranger[0] = 1
        share = graph.op("Div", total, graph.op("Sqrt", count))
        return graph.op("Mul", share, graph.lookup(stranger, graph.user))

    def _conditions(self, asked_in: Contexts | None, num_rows: int) -> Floats:
        """Return the conditions of each query as zeros and ones, `[num_queries, num_conditions]`."""
        if asked_in is None or not self.user_deviations.shape[1]:
            return np.zeros((num_rows, self.user_deviations.shape[1]), np.float32)
        return np.asarray(asked_in.indicators().toarray(), dtype=np.float32)


class RatedFactors(RatingRetriever):
    """Biased matrix factorization of ratings."""

    card = BiasedFactors.card
    Settings = RatedSettings
    model = BiasedFactors


class RatedCamf(RatingRetriever):
    """Context-aware matrix factorization of ratings, asked at the hour and weekday of a query and on its device."""

    card = Camf.card
    Settings = RatedCamfSettings
    model = Camf

    def deviations(self, model: Any, train: Sequences) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return those of users, and of items; with `deviations: global` every user has the same."""
        of_users, of_items = super().deviations(model, train)
        size, kind = model.deviations.shape[1], self.settings.deviations
        if kind == "item":
            return np.zeros((len(of_users), size)), model.deviations
        none = np.zeros((len(of_items), size))
        if kind == "global":
            return np.broadcast_to(model.deviations, (len(of_users), size)), none
        return np.vstack([model.deviations.mean(axis=0), model.deviations]), none


def _ratings(train: Sequences, name: str) -> Ratings:
    """Return interactions as ratings.

    Raises:
        TrainingError: there are no interactions, or no values that differ.
    """
    require_interactions(train)
    if train.values is None or np.ptp(train.values) == 0:
        found = "none has a value" if train.values is None else f"all have the value {train.values[0]:g}"
        raise TrainingError(
            f"model {name!r} learns from ratings, and of {len(train.items)} interactions {found}; expected values that "
            "differ. Map the column of ratings to `value`, or train a model that needs none, such as als"
        )
    values = train.values.astype(np.float64)
    items = train.items.astype(np.int64)
    return Ratings(train.rows, items, values, len(train), train.num_items, contexts=train.contexts)


def _history_shares(queries: Sequences) -> Any:
    """Return which items each row holds, each row of length 1, as a scipy CSR matrix."""
    rows = queries.matrix()
    counts = np.diff(rows.indptr)
    return rows.multiply(1 / np.sqrt(np.maximum(counts, 1))[:, None]).tocsr()


def _of_history(train: Sequences, factors: Floats, l2: float) -> Floats:
    """Return the weights of items that restore users' factors from what they rated, `[num_items, num_factors]`.

    Source: Paterek, Improving regularized singular value decomposition for collaborative filtering, 2007 (NSVD1), here
    by least squares to factors that are known.
    """
    from scipy.sparse.linalg import lsmr

    rows = _history_shares(train).astype(np.float64)
    found = [lsmr(rows, column, damp=np.sqrt(l2), maxiter=NUM_STEPS)[0] for column in factors.T.astype(np.float64)]
    return np.stack(found, axis=1).astype(np.float32)
