"""Systems that rank a holdout: popularity, and pairs of exported models run by onnxruntime alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.features.on_demand import days_since_last_event, request_context, taste_match
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.models import metrics
from pipelines.models.candidates import Floats, Rows, retrieve
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.holdout import Holdout
from pipelines.models.vectors import ItemVectors, embed_items, embed_queries, products

POPULARITY_WINDOWS = ("item_num_events_7d", "item_num_events_30d", "item_num_events")
PAIRS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Embedded:
    """Both sides in the space of one retrieval model."""

    queries: Floats
    items: ItemVectors


def add_context(users: pa.Table, moments: pa.Array) -> pa.Table:
    """Return user features with those computed from the request's time, as serving computes them."""
    for name, values in request_context(moments).items():
        users = users.append_column(name, values)
    return users.append_column("days_since_last_event", days_since_last_event(moments, users["last_known_at"]))


def popularity(holdout: Holdout, window: str, top_k: int) -> Rows:
    """Return the most popular unseen items of a window of days for every user, `[num_users, top_k]`."""
    counts = holdout.items[window].fill_null(0).to_numpy().astype(np.float32)
    scores = np.broadcast_to(counts, holdout.seen.shape)
    top: Rows = metrics.worst_case_top(scores, holdout.relevant, top_k, excluded=holdout.seen).astype(np.int64)
    return top


def best_window(holdout: Holdout, metric: str, ks: tuple[int, ...]) -> str:
    """Return the window by which popularity does best; asked of the validation window, never of the test."""
    name, _, k = metric.rpartition("_at_")
    worth = {}
    for window in POPULARITY_WINDOWS:
        hit = metrics.hits(popularity(holdout, window, max(ks)), holdout.relevant)
        worth[window] = float(metrics.accuracy(hit, holdout.relevant.sum(axis=1), (int(k),))[f"{name}_at_{k}"].mean())
    return max(POPULARITY_WINDOWS, key=lambda window: worth[window])


def embed(retrieval: Path, queries: pa.Table, items: pa.Table) -> Embedded:
    """Return both sides by a retrieval bundle."""
    return Embedded(embed_queries(retrieval, queries), embed_items(retrieval, items))


def retrieval_order(holdout: Holdout, embedded: Embedded, top_k: int) -> Rows:
    """Return unseen items by dot product over the whole corpus, `[num_users, top_k]`."""
    tops = []
    for start in range(0, len(holdout.users), metrics.QUERIES_AT_ONCE):
        part = slice(start, start + metrics.QUERIES_AT_ONCE)
        scores = products(embedded.queries[part], embedded.items)
        tops.append(metrics.worst_case_top(scores, holdout.relevant[part], top_k, excluded=holdout.seen[part]))
    return np.concatenate(tops)


def recommended_order(
    holdout: Holdout, embedded: Embedded, ranking: Path, queries: pa.Table, *, num_candidates: int, top_k: int
) -> Rows:
    """Return what serving would: candidates by retrieval, ordered by the ranker's probability, `[num_users, top_k]`."""
    lists, scores = retrieve(embedded.queries, embedded.items, num_candidates, excluded=holdout.seen)
    scores = _rank(ranking, queries, holdout.items, lists, scores)
    present = lists >= 0
    relevant = np.take_along_axis(holdout.relevant, np.maximum(lists, 0), axis=1) & present
    columns = metrics.worst_case_top(scores, relevant, top_k, excluded=~present)
    chosen = np.take_along_axis(lists, np.maximum(columns, 0), axis=1)
    return np.where(columns >= 0, chosen, -1)


def _rank(ranking: Path, queries: pa.Table, items: pa.Table, lists: Rows, scores: Floats) -> Floats:
    """Return the ranker's probability of each candidate, `[num_users, num_candidates]`."""
    encoder, session = RankingEncoder.load(ranking / "ranking_inputs"), load_onnx(ranking / "ranker.onnx")
    query_inputs, item_inputs = encoder.query.encode(queries), encoder.item.encode(items)
    query_rows, columns = np.nonzero(lists >= 0)
    item_rows = lists[query_rows, columns]
    ranked = np.full(lists.shape, -np.inf, dtype=np.float32)
    tastes = queries.select(["taste_categories", "taste_weights"])
    for start in range(0, len(query_rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        taste, content = tastes.take(query_rows[part]), items["categories"].take(pa.array(item_rows[part]))
        inputs = encoder.pair(
            query_inputs,
            item_inputs,
            query_rows=query_rows[part],
            item_rows=item_rows[part],
            retrieval_score=scores[query_rows[part], columns[part]],
            taste_match=taste_match(taste["taste_categories"], taste["taste_weights"], content),
        )
        ranked[query_rows[part], columns[part]] = run_onnx(session, inputs)["probability"]
    return ranked
