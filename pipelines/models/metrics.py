"""Ranking metrics over full rankings: numpy only, ties counted worst case, stable.

Shapes: `[num_queries, num_items]` for scores and masks, `[num_queries, top_k]` for ranked lists and hits.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Rows = NDArray[np.integer]
QUERIES_AT_ONCE = 512


def worst_case_top(scores: Floats, relevant: Mask, top_k: int, *, excluded: Mask | None = None) -> Rows:
    """Return the columns of the best scores, int64 `[num_queries, top_k]`, best first, -1 where there are no more.

    Of equal scores the irrelevant come first, so a constant model earns nothing by luck; among equals of one kind the
    smaller column comes first.

    Args:
        scores: `[num_queries, num_items]`.
        relevant: which items are relevant, same shape.
        top_k: length of the lists.
        excluded: items that may not appear, such as seen ones, same shape.
    """
    top = np.full((len(scores), top_k), -1, dtype=np.int64)
    for rows in _chunks(len(scores)):
        keys = _sort_keys(scores[rows], relevant[rows], None if excluded is None else excluded[rows])
        kept = min(top_k, keys.shape[1])
        best = np.argpartition(-keys, kept - 1, axis=1)[:, :kept] if kept < keys.shape[1] else _all_columns(keys)
        best_keys = np.take_along_axis(keys, best, axis=1)
        order = np.argsort(-best_keys, axis=1)
        ranked = np.take_along_axis(best, order, axis=1)
        allowed = np.take_along_axis(best_keys, order, axis=1) >= 0
        top[rows, :kept] = np.where(allowed, ranked, -1)
    return top


def hits(top: Rows, relevant: Mask) -> Mask:
    """Return which ranked items are relevant, `[num_queries, top_k]`."""
    return np.take_along_axis(relevant, np.maximum(top, 0), axis=1) & (top >= 0)


def recall(hit: Mask, num_relevant: Rows, k: int) -> Floats:
    """Return the share of each query's relevant items that are among its first `k`, `[num_queries]`."""
    return np.asarray(hit[:, :k].sum(axis=1) / np.maximum(num_relevant, 1))


def ndcg(hit: Mask, num_relevant: Rows, k: int) -> Floats:
    """Return the discounted gain of the first `k` relative to the best possible order, `[num_queries]`."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(num_relevant, k)]
    gained = (hit[:, :k] * discount[: hit[:, :k].shape[1]]).sum(axis=1)
    return np.asarray(np.divide(gained, ideal, out=np.zeros(len(hit)), where=ideal > 0))


def mrr(hit: Mask, k: int) -> Floats:
    """Return one over the rank of the first relevant item among the first `k`, 0 without one, `[num_queries]`."""
    cut = hit[:, :k]
    return np.where(cut.any(axis=1), 1 / (1 + cut.argmax(axis=1)), 0.0)


def hit_rate(hit: Mask, k: int) -> Floats:
    """Return 1 where a relevant item is among the first `k`, `[num_queries]`."""
    return np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)


def accuracy(hit: Mask, num_relevant: Rows, ks: Sequence[int]) -> dict[str, Floats]:
    """Return every accuracy metric a query: name such as `ndcg_at_10` -> `[num_queries]`."""
    values: dict[str, Floats] = {}
    for k in ks:
        values[f"recall_at_{k}"] = recall(hit, num_relevant, k)
        values[f"ndcg_at_{k}"] = ndcg(hit, num_relevant, k)
        values[f"mrr_at_{k}"] = mrr(hit, k)
        values[f"hit_rate_at_{k}"] = hit_rate(hit, k)
    return values


def coverage(top: Rows, num_items: int) -> float:
    """Return the share of the corpus that is recommended to anyone.

    Source: Ge and others, Beyond accuracy: evaluating recommender systems by coverage and serendipity, RecSys 2010.
    """
    return len(np.unique(top[top >= 0])) / max(num_items, 1)


def novelty(top: Rows, popularity: Floats) -> float:
    """Return the mean self-information of a recommended item, in bits: rare items are novel.

    Source: Zhou and others, Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 2010.

    Args:
        top: ranked lists.
        popularity: events of each item before the cut, `[num_items]`.
    """
    share = (popularity + 1) / (popularity + 1).sum()
    return _mean(-np.log2(share)[top[top >= 0]])


def popularity_share(top: Rows, head: Mask) -> float:
    """Return the share of recommendations that are head items; `head` is `[num_items]`.

    Source: Abdollahpouri and others, Managing popularity bias in recommender systems with personalized re-ranking,
    FLAIRS 2019 (one minus their share of long-tail items).
    """
    return _mean(head[top[top >= 0]])


def intra_list_diversity(top: Rows, content: Floats) -> float:
    """Return one minus the mean cosine of the pairs within a list, averaged over lists.

    Source: Ziegler and others, Improving recommendation lists through topic diversification, WWW 2005.

    Args:
        top: ranked lists.
        content: unit vectors of the items' categories, `[num_items, num_categories]`; zeros where there are none.
    """
    vectors = content[np.maximum(top, 0)] * (top >= 0)[..., None]
    length = (top >= 0).sum(axis=1)
    total = np.square(vectors.sum(axis=1)).sum(axis=1) - np.square(vectors).sum(axis=(1, 2))
    pairs = length * (length - 1)
    return _mean(1 - total[pairs > 0] / pairs[pairs > 0])


def head_items(popularity: Floats) -> Mask:
    """Return the fewest most popular items that hold half of all events, `[num_items]`."""
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    head = np.zeros(len(popularity), dtype=bool)
    head[order] = before < popularity.sum() / 2
    return head & (popularity > 0)


def _sort_keys(scores: Floats, relevant: Mask, excluded: Mask | None) -> NDArray[np.int64]:
    """Return distinct integers that order as (score, irrelevant first, smaller column first); -1 where excluded."""
    bits = np.ascontiguousarray(scores, dtype=np.float32)
    bits = np.where(np.isnan(bits), -np.inf, bits).astype(np.float32) + np.float32(0)  # -0 and 0 are one score
    whole = bits.view(np.int32).astype(np.int64)
    ordered = np.where(whole < 0, -(whole & 0x7FFFFFFF), whole) + 2**31  # the order of the floats, not negative
    column = scores.shape[1] - 1 - np.arange(scores.shape[1], dtype=np.int64)
    keys: NDArray[np.int64] = (ordered * 2 + ~relevant) * 2**30 + column
    if excluded is not None:
        keys[excluded] = -1
    return keys


def _all_columns(keys: NDArray[np.int64]) -> Rows:
    return np.broadcast_to(np.arange(keys.shape[1]), keys.shape)


def _chunks(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, QUERIES_AT_ONCE):
        yield slice(start, min(start + QUERIES_AT_ONCE, num_rows))


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
