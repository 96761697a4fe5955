"""Candidates of training queries, as a live system would have logged them: numpy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.models.vectors import ItemVectors, products

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
QUERIES_AT_ONCE = 1_024


@dataclass(frozen=True)
class Candidates:
    """Flat pairs, ordered by query and then by score.

    Attributes:
        query: row of the query, `[num_pairs]`.
        item: row of the item in the corpus, `[num_pairs]`.
        score: retrieval score, `[num_pairs]`.
        weight: how many candidates of its query a pair stands for, `[num_pairs]`.
    """

    query: Rows
    item: Rows
    score: Floats
    weight: Floats


def retrieve(queries: Floats, items: ItemVectors, top_k: int, *, excluded: Mask) -> tuple[Rows, Floats]:
    """Return the nearest items by exact dot product: rows and scores, both `[num_queries, top_k]`, best first.

    Args:
        queries: `[num_queries, embedding_dim]`.
        items: `[num_items, embedding_dim]`, in full or sparse.
        top_k: length of the lists; where fewer items are left, the rest is -1.
        excluded: items a query may not get, `[num_queries, num_items]`.
    """
    kept = min(top_k, len(items))
    rows, scores = np.empty((len(queries), kept), np.int64), np.empty((len(queries), kept), np.float32)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        found = np.where(excluded[part], -np.inf, products(queries[part], items)).astype(np.float32)
        best = np.argpartition(-found, kept - 1, axis=1)[:, :kept] if kept < len(items) else _all(found)
        values = np.take_along_axis(found, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        scores[part] = np.take_along_axis(values, order, axis=1)
        rows[part] = np.where(np.isfinite(scores[part]), np.take_along_axis(best, order, axis=1), -1)
    return rows, scores


def sample_pairs(
    rows: Rows, scores: Floats, positive: Mask, *, num_candidates: int, rng: np.random.Generator
) -> Candidates:
    """Keep every positive and a sample of the negatives of each list, up to `num_candidates` a query.

    A negative that is kept stands for all that were not: its weight is the ratio. So probabilities learned with the
    weights are those of the whole list, and calibration needs no correction for the sampling.

    Args:
        rows: candidate lists, `[num_queries, list_length]`, -1 for none.
        scores: their scores, same shape.
        positive: which of them the user went on to use, same shape.
        num_candidates: pairs kept a query.
        rng: draws the negatives.
    """
    present = rows >= 0
    # Positives sort before all negatives, negatives in random order, missing last.
    priority = np.where(positive, -1.0, rng.random(rows.shape)) + np.where(present, 0.0, 10.0)
    kept_columns = np.argsort(priority, axis=1, kind="stable")[:, :num_candidates]
    kept = np.zeros(rows.shape, dtype=bool)
    np.put_along_axis(kept, kept_columns, values=True, axis=1)
    kept &= present
    negative = present & ~positive
    num_kept = (kept & negative).sum(axis=1)
    ratio = np.divide(negative.sum(axis=1), num_kept, out=np.ones(len(rows)), where=num_kept > 0)
    weight = np.where(positive, 1.0, ratio[:, None])
    query, column = np.nonzero(kept)
    return Candidates(query, rows[query, column], scores[query, column], weight[query, column].astype(np.float32))


def popular_rows(popularity: NDArray[Any], shape: tuple[int, int], rng: np.random.Generator) -> Rows:
    """Return items drawn by popularity, `shape`; drawn with replacement, every item possible."""
    share = np.cumsum(np.nan_to_num(popularity.astype(np.float64)) + 1.0)
    return np.searchsorted(share / share[-1], rng.random(shape)).astype(np.int64)


def _all(scores: Floats) -> Rows:
    return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
