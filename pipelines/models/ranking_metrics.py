"""How well scores order the candidates of each query; ties are counted worst case."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.pairs import PairData

Doubles = NDArray[np.float64]


def list_ndcg(scores: NDArray[Any], data: PairData, k: int = 10, *, gain: NDArray[Any] | None = None) -> Doubles:
    """Return the nDCG of ordering each query's candidates by `scores`, `[num_queries with a gain]`.

    Args:
        scores: `[num_pairs]`.
        data: the pairs; queries are answered in order of `query_rows`.
        k: cut-off.
        gain: of each pair, at least 0, `[num_pairs]`; None gains 1 by each positive.
    """
    gain = data.label if gain is None else gain
    gained, ideal = _dcg(scores, gain, data, k), _dcg(gain, gain, data, k)
    return gained[ideal > 0] / ideal[ideal > 0]


def list_auc(scores: NDArray[Any], data: PairData) -> Doubles:
    """Return the share of (positive, negative) pairs of each query in the right order, `[num_queries with both]`."""
    order, starts, rank = _ordered(scores, data.label, data)
    label = data.label[order].astype(np.float64)
    positives = np.add.reduceat(label, starts)
    negatives = np.diff(np.r_[starts, len(label)]) - positives
    # Of the candidates before a positive, the other positives: what is left is negatives in the wrong order.
    ranks = np.add.reduceat(label * rank, starts)
    wrong = ranks - positives * (positives - 1) / 2
    both = (positives > 0) & (negatives > 0)
    return np.asarray(1 - wrong[both] / (positives * negatives)[both])


def value_gain(data: PairData) -> NDArray[np.float32] | None:
    """Return the value of each positive, the mean value where it has none, 0 for negatives: `[num_pairs]`.

    None if there are no values, or negative ones: what is gained by an order cannot be counted in them.
    """
    values = data.value[data.valued]
    if not len(values) or values.min() < 0:
        return None
    return np.where(data.valued, data.value, values.mean() * data.label).astype(np.float32)


def _dcg(scores: NDArray[Any], gain: NDArray[Any], data: PairData, k: int) -> Doubles:
    """Return the discounted gain of each query, `[num_queries]`."""
    order, starts, rank = _ordered(scores, gain, data)
    discounted = gain[order] * np.where(rank < k, 1 / np.log2(rank + 2.0), 0.0)
    return np.asarray(np.add.reduceat(discounted, starts), dtype=np.float64)


def _ordered(scores: NDArray[Any], gain: NDArray[Any], data: PairData) -> tuple[NDArray[Any], ...]:
    """Return pairs ordered by query and falling score, where each query starts, and each pair's rank from 0."""
    order = np.lexsort((gain, -scores, data.query_rows))
    query = data.query_rows[order]
    starts = np.flatnonzero(np.r_[True, np.diff(query) != 0])
    rank = np.arange(len(query)) - np.repeat(starts, np.diff(np.r_[starts, len(query)]))
    return order, starts, rank
