"""Why an item is, or is not, recommended: the figures each stage saw."""

from datetime import datetime
from typing import Any

import numpy as np

from serving.recent import RECENT_ITEMS
from serving.recommender import Encoded, Query, Recommender, Stages
from serving.users import SEEN_ITEMS, User

NUM_NEIGHBOURS = 5


def explain(recommender: Recommender, query: Query, user: User, item_id: str, *, now: datetime) -> dict[str, Any]:
    """Return the content of an `Explanation` but for the release; an unknown user or item is explained too."""
    bundle = recommender.bundle
    row = bundle.catalogue.rows.get(item_id)
    chosen, _ = recommender.recommend(query, user, Stages(), now=now)
    rows = [choice.row for choice in chosen]
    position = rows.index(row) + 1 if row in rows else None
    encoded = recommender.encode(query, user, now=now)
    figures = _figures(recommender, encoded, row) if row is not None else _UNKNOWN
    reasons = [] if position else _reasons(recommender, query, user, item_id, figures["retrieval_rank"])
    query_features = {k: v for k, v in encoded.features.to_pylist()[0].items() if v is not None}
    item_features = bundle.catalogue.features.slice(row, 1).to_pylist()[0] if row is not None else {}
    return {
        "user_id": query.user_id,
        "item_id": item_id,
        "user_known": user.known,
        "item_known": row is not None,
        "recommended": position is not None,
        "position": position,
        "reasons": reasons,
        "num_items": bundle.catalogue.num_items,
        **{name: figures[name] for name in ("retrieval_score", "retrieval_rank", "probability", "expected_value")},
        "features": {"user": query_features, "item": item_features, "pair": figures["pair"]},
        "history": _history(recommender, user, row) if row is not None else [],
    }


_UNKNOWN: dict[str, Any] = {
    "retrieval_score": None,
    "retrieval_rank": None,
    "probability": None,
    "expected_value": None,
    "pair": {},
}


def _figures(recommender: Recommender, encoded: Encoded, row: int) -> dict[str, Any]:
    """Scores of one item, and its exact rank: all items are scored, which a request would not pay for."""
    index = recommender.bundle.index
    scores = index.vectors(np.arange(index.num_items, dtype=np.int32)) @ encoded.vector[0]
    rows = np.array([row], dtype=np.int32)
    ranked = recommender.rank(encoded, rows, scores[rows], "retrieval")
    return {
        "retrieval_score": float(scores[row]),
        "retrieval_rank": int(np.count_nonzero(scores > scores[row])) + 1,
        "probability": float(ranked.probability[0]),
        "expected_value": float(ranked.expected_value[0]),
        "pair": {"taste_match": float(recommender.taste_match(encoded.features, rows)[0])},
    }


def _reasons(recommender: Recommender, query: Query, user: User, item_id: str, rank: int | None) -> list[str]:
    bundle = recommender.bundle
    row = bundle.catalogue.rows.get(item_id)
    if row is None:
        return ["the item is not in the release: it was not known at the snapshot's as_of"]
    reasons = []
    if item_id in user.seen and bundle.rules.exclude_seen:
        where = "online store" if item_id in user.features.get(SEEN_ITEMS, ()) else "events since the last features"
        reasons.append(f"the user has seen it ({where})")
    if item_id in bundle.rules.blocked_items:
        reasons.append("it is blocked by the rule `blocked_items`")
    elif bundle.catalogue.hidden[row]:
        reasons.append("it is not available")
    wanted = bundle.manifest.num_candidates
    if not reasons and rank is not None and rank > wanted:
        reasons.append(f"retrieval ranks it {rank}; only about {wanted} candidates are ranked")
    if not reasons:
        limit = bundle.rules.max_per_category
        rule = f", or `max_per_category` ({limit}) refused it" if limit else ""
        reasons.append(f"{query.count} candidates have a higher probability{rule}")
    return reasons


def _history(recommender: Recommender, user: User, row: int) -> list[dict[str, Any]]:
    """The distinct items of the recent history that are nearest to the item."""
    catalogue, index = recommender.bundle.catalogue, recommender.bundle.index
    items = dict.fromkeys(item for item in user.features.get(RECENT_ITEMS, ()) if item in catalogue.rows)
    rows = np.array([catalogue.rows[item] for item in items], dtype=np.int32)
    if not len(rows):
        return []
    similarity = index.vectors(rows) @ index.vectors(np.array([row], dtype=np.int32))[0]
    best = np.argsort(-similarity, kind="stable")[:NUM_NEIGHBOURS]
    return [
        {"item_id": catalogue.ids[rows[i]], "title": catalogue.titles[rows[i]], "similarity": float(similarity[i])}
        for i in best
    ]
