"""Ask a model a protocol's question: full rankings, ties counted worst case, a few hundred queries at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.models import metrics
from pipelines.models.retrievers.base import Retriever, RunOptions, Validation
from pipelines.models.retrievers.catalogue import retriever_class
from pipelines.models.significance import PerUser
from pipelines.protocols.base import Contender, Part, Parts
from pipelines.protocols.measures import Measures
from pipelines.protocols.splits import RankingTask

QUERIES_AT_ONCE = 512
VALIDATION_ROWS = 10_000
KS = (5, 10, 20, 50, 100)


def contest_ranking(contender: Contender, parts: Parts, part: Part, seed: int) -> Measures:
    """Fit a contender and return its metrics on a part."""
    task: RankingTask = getattr(parts, part)
    kind = retriever_class(contender.model)
    model = kind(contender.settings_of(kind))
    options = RunOptions(seed=seed)
    if contender.stops_early:
        inner: RankingTask = parts.validation
        model.fit(inner.train, options=options, validation=as_validation(inner, limit=VALIDATION_ROWS, seed=seed))
    else:
        model.fit(task.train, options=options)
    return measure_ranking(model, task, KS)


def measure_ranking(model: Retriever, task: RankingTask, ks: tuple[int, ...]) -> Measures:
    """Return the means over queries of each accuracy metric, and `hits_at_k`, the share of all relevant items found."""
    hits, num_relevant = [], task.relevant.lengths
    for rows in _chunks(len(task.queries)):
        queries, relevant = task.queries.take(rows), task.relevant.take(rows).seen()
        excluded = queries.seen() if task.remove_seen else None
        top = metrics.worst_case_top(model.score(queries), relevant, max(ks), excluded=excluded)
        hits.append(metrics.hits(top, relevant))
    hit = np.concatenate(hits)
    of_queries = metrics.accuracy(hit, num_relevant, ks)
    sums = {name: PerUser.grouped(task.askers, values, np.ones(len(hit))) for name, values in of_queries.items()}
    found = {k: hit[:, :k].sum(axis=1) for k in ks}
    return Measures(sums | {f"hits_at_{k}": PerUser.grouped(task.askers, found[k], num_relevant) for k in ks})


def as_validation(task: RankingTask, *, limit: int, seed: int) -> Validation:
    """Return a question as rows of one target each, at most `limit` of them drawn at random, for early stopping."""
    chosen = np.arange(len(task.relevant.items))
    if len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), limit, replace=False))
    queries = task.queries.take(task.relevant.rows[chosen])
    return Validation(queries, task.relevant.items[chosen], task.remove_seen)


def _chunks(num_rows: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, num_rows, QUERIES_AT_ONCE):
        yield np.arange(start, min(start + QUERIES_AT_ONCE, num_rows))
