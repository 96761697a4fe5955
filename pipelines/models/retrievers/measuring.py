"""What a retriever is worth on a validation window: ranks of the next item, ties counted worst case."""

import numpy as np
from numpy.typing import NDArray

from pipelines.models.retrievers.base import UNSEEN_NDCG, Retriever, Validation

QUERIES_AT_ONCE = 256


def target_ranks(model: Retriever, validation: Validation) -> NDArray[np.int64]:
    """Return the rank of each target, from 1, among all items that the ranking does not leave out, `[num_queries]`."""
    ranks = np.empty(len(validation.queries), dtype=np.int64)
    for start in range(0, len(ranks), QUERIES_AT_ONCE):
        rows = np.arange(start, min(start + QUERIES_AT_ONCE, len(ranks)))
        queries, targets = validation.queries.take(rows), validation.targets[rows]
        scores = model.score(queries)
        own = np.take_along_axis(scores, targets[:, None].astype(np.int64), axis=1)
        before = scores >= own
        if validation.remove_seen:
            before &= ~queries.seen()
            before[np.arange(len(rows)), targets] = True
        ranks[rows] = before.sum(axis=1)
    return ranks


def validation_metrics(model: Retriever, validation: Validation) -> dict[str, float]:
    """Return recall at 50 and nDCG at 10 of the next item that is not among the recent ones."""
    if not len(validation.queries):
        return {}
    ranks = target_ranks(model, validation)
    gain = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    return {
        "validation_unseen_recall_at_50": float((ranks <= 50).mean()),
        UNSEEN_NDCG: float(gain.mean()),
    }
