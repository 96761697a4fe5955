"""item2vec: items that stand near each other in histories lie near each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.models.retrievers.base import Floats, ModelCard, RunOptions
from pipelines.models.retrievers.factor_retriever import FactorRetriever
from pipelines.models.retrievers.item_to_item import HistorySettings
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.sequences import Sequences

HOUR = 3_600


class Item2VecSettings(HistorySettings):
    """What counts as near, and how much a common item is worth."""

    history_decay: float = Field(0.8, gt=0, le=1, description="weight of an interaction against the one after it")
    num_factors: int = Field(128, ge=1, description="length of a vector; fewer where there are fewer items")
    window: int = Field(3, ge=1, description="items up to so many steps apart are near, the closer the more")
    max_gap_hours: float | None = Field(
        None, gt=0, description="neighbours further apart in time are of different sessions; none takes whole histories"
    )
    smoothing: float = Field(0.75, ge=0, le=1, description="power of an item's count when chance is worked out")
    num_negatives: int = Field(1, ge=1, description="negatives a pair that the shift stands for")
    eigenvalue_power: float = Field(0.5, ge=0, le=1, description="vectors are scaled by eigenvalues to this power")
    popularity_weight: float = Field(0.5, ge=0, description="of the log of an item's share, beside the nearness")


class Item2Vec(FactorRetriever):
    """Vectors whose products are how much oftener than by chance two items are near, and the mean of a history's.

    Skip-gram with negative sampling factorizes the pointwise mutual information of word and context, less the log of
    the number of negatives (Levy and Goldberg). Here that matrix is counted and its largest eigenvectors are taken: no
    steps, no learning rate. What is rarer than by chance is 0 in it, so it is sparse; eigenvalues below zero are left
    out, so an item has one vector.
    """

    card = ModelCard(
        name="item2vec",
        family="embedding",
        needs="order of events; times where sessions are cut by gaps",
        good_at="similar items, and sessions whose users are not known; vectors for an index, in seconds",
        source="Barkan and Koenigstein, Item2vec, MLSP 2016; Levy and Goldberg, Neural word embedding as implicit "
        "matrix factorization, NeurIPS 2014",
    )
    Settings = Item2VecSettings
    space = {"num_factors": [64, 128, 256], "window": "1..10", "smoothing": "0.5..1.0", "history_decay": "0.5..1.0"}

    def item_factors(self, train: Sequences, options: RunOptions) -> Floats:
        """Return the vectors and, as last factor, the weighted log of each item's share."""
        vectors = item_vectors(train, self.settings, seed=options.seed)
        return with_popularity(vectors, self.popularity, self.settings.popularity_weight, len(train.items))

    def fold_in(self, queries: Sequences) -> Floats:
        """Return the decayed mean of each history's vectors, and 1 for the popularity."""
        mean = history_mean(queries, self.items[:, :-1], self.settings.history_decay**queries.ages)
        return np.column_stack([mean, np.ones(len(queries), dtype=np.float32)])

    def fold_in_graph(self, graph: QueryGraph) -> str:
        """Average the history."""
        decay = self.settings.history_decay ** np.arange(graph.layout.history_length)
        mean = graph.pooled_history(np.pad(self.items[:, :-1], ((1, 0), (0, 0))), decay)
        return graph.op("Concat", mean, graph.repeated(np.ones(1)), axis=1)


def item_vectors(train: Sequences, settings: Item2VecSettings, *, seed: int) -> Floats:
    """Return the items' vectors, float32 `[num_items, num_factors]`; an item that was never near another has zeros."""
    from scipy.sparse.linalg import eigsh

    matrix = shifted_pmi(near(train, settings.window, settings.max_gap_hours), settings)
    size = min(settings.num_factors, train.num_items - 1)
    if size < 1 or not matrix.nnz:
        return np.zeros((train.num_items, settings.num_factors), dtype=np.float32)
    start = np.random.default_rng(seed).normal(size=train.num_items)
    values, directions = eigsh(matrix, k=size, which="LA", v0=start)
    return np.asarray(directions * np.maximum(values, 0) ** settings.eigenvalue_power, dtype=np.float32)


def with_popularity(vectors: Floats, share: Floats, weight: float, num_interactions: int) -> Floats:
    """Return vectors with one more factor, the weighted log of each item's share of the interactions.

    An item without an interaction counts as half of one.
    """
    log_share = np.log(np.maximum(share, 0.5 / num_interactions))
    return np.column_stack([vectors, weight * log_share]).astype(np.float32)


def near(train: Sequences, window: int, max_gap_hours: float | None) -> Any:
    """Return how near each two items were, CSR `[num_items, num_items]`, symmetric, nothing on the diagonal.

    Items `d` steps apart add `1 - (d - 1) / window`: as often as word2vec, which draws the window's size, takes them.
    """
    import scipy.sparse as sp

    shape = (train.num_items, train.num_items)
    total = sp.csr_matrix(shape, dtype=np.float64)
    for step in range(1, window + 1):
        later = _later(train, step, max_gap_hours)
        before, after = train.items[later - step], train.items[later]
        different = before != after
        weights = np.full(int(different.sum()), 1 - (step - 1) / window)
        total = total + sp.csr_matrix((weights, (before[different], after[different])), shape=shape)
    return (total + total.T).tocsr()


def shifted_pmi(counts: Any, settings: Item2VecSettings) -> Any:
    """Return `max(log(counts / by chance) - log(num_negatives), 0)` of symmetric counts, CSR of the same shape."""
    of_item = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = of_item**settings.smoothing
    share = smoothed / max(smoothed.sum(), 1e-12)
    cells = counts.tocoo()
    chance = share[cells.row] * share[cells.col] * max(of_item.sum(), 1e-12)
    cells.data = np.maximum(np.log(cells.data / chance) - np.log(settings.num_negatives), 0)
    matrix = cells.tocsr()
    matrix.eliminate_zeros()
    return matrix


def history_mean(queries: Sequences, vectors: Floats, weights: NDArray[Any]) -> Floats:
    """Return the weighted mean of each history's vectors, float32 `[num_queries, width]`; zeros where weights cancel.

    Args:
        queries: histories.
        vectors: of the items, `[num_items, width]`.
        weights: of each interaction, of either sign, `[num_interactions]`; a mean divides by their size.
    """
    import scipy.sparse as sp

    size = np.bincount(queries.rows, np.abs(weights), len(queries))
    shares = weights / np.maximum(size, 1e-12)[queries.rows]
    shape = (len(queries), len(vectors))
    rows = sp.csr_matrix((shares.astype(np.float32), (queries.rows, queries.items)), shape=shape)
    return np.asarray(rows @ vectors, dtype=np.float32)


def _later(train: Sequences, step: int, max_gap_hours: float | None) -> NDArray[np.int64]:
    """Return places of interactions that have one so many steps before them in their row and, with a gap, session."""
    places = np.arange(len(train.items))
    later: NDArray[np.int64] = places[places - train.offsets[train.rows] >= step]
    if max_gap_hours is None or train.times is None:
        return later
    broken = np.diff(train.times, prepend=train.times[:1]) > max_gap_hours * HOUR
    session = np.cumsum(broken)
    together: NDArray[np.int64] = later[session[later] == session[later - step]]
    return together
