"""Retrieve, filter, rank, apply rules: one request against one release, without a web framework."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.contracts import ITEM_ID
from pipelines.features import on_demand
from pipelines.features.schemas import (
    ITEM_CONTENT,
    ITEM_POPULARITY,
    ITEM_QUALITY,
    USER_ACTIVITY,
    USER_HISTORY,
    USER_PROFILE,
    USER_TASTE,
)
from serving.bundle import Arrays, Bundle
from serving.recent import LAST_KNOWN_AT, as_utc
from serving.users import User

TIMESTAMP = pa.timestamp("us", tz="UTC")
USER_TYPES = {
    name: type_
    for table in (USER_ACTIVITY, USER_HISTORY, USER_TASTE, USER_PROFILE)
    for name, type_ in table.features.items()
}
ITEM_NAMES = [name for table in (ITEM_POPULARITY, ITEM_QUALITY, ITEM_CONTENT) for name in table.features]
Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Origin = Literal["retrieval", "popular"]


@dataclass(frozen=True)
class Query:
    """One request for recommendations: a user at a moment in a context."""

    user_id: str
    count: int
    timestamp: datetime | None = None
    device: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """Candidates with the ranker's outputs, best first; all arrays are `[num_candidates]`."""

    rows: Rows
    probability: Floats
    expected_value: Floats
    retrieval_score: Floats
    origin: Origin


@dataclass(frozen=True)
class Choice:
    """One item of an answer."""

    row: int
    probability: float
    expected_value: float
    retrieval_score: float
    origin: Origin


@dataclass(frozen=True)
class Encoded:
    """A query as the models read it.

    Attributes:
        features: one row of user and context features.
        ranking: the ranker's query inputs, one row.
        vector: query embedding `[1, embedding_dim]`.
        moment: the time that context features were computed for.
    """

    features: pa.Table
    ranking: Arrays
    vector: Floats
    moment: datetime


@dataclass
class Stages:
    """Seconds spent in each stage of a request."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class Recommender:
    """Answers requests from one release. Holds no state of its own, so any number of threads may share it."""

    def __init__(self, bundle: Bundle) -> None:
        """Answer from `bundle`."""
        self.bundle = bundle

    def recommend(self, query: Query, user: User, stages: Stages, *, now: datetime) -> tuple[list[Choice], datetime]:
        """Return up to `query.count` items, best first, and the moment they were chosen for.

        Popular items fill up when filters and rules leave too few of the retrieved ones; the answer is shorter
        only when the whole corpus has no more items that may be shown.
        """
        encoded = self.encode(query, user, now=now)
        stages.lap("encode")
        hidden = self.hidden(query, user)
        rows, scores = self.retrieve(encoded.vector, hidden)
        stages.lap("retrieve")
        ranked = self.rank(encoded, rows, scores, "retrieval")
        stages.lap("rank")
        counts: Counter[str] = Counter()
        chosen = list(self._allowed(ranked, query.count, counts))
        if len(chosen) < query.count:
            fill = self._popular(hidden, rows, query.count - len(chosen))
            ranked = self.rank(encoded, fill, self._similarity(encoded.vector, fill), "popular")
            chosen += self._allowed(ranked, query.count - len(chosen), counts)
        stages.lap("rules")
        return chosen, encoded.moment

    def encode(self, query: Query, user: User, *, now: datetime) -> Encoded:
        """Compute context features and the query embedding."""
        moment = self.moment(query, user, now=now)
        features = query_features(query, user, moment)
        bundle = self.bundle
        inputs = bundle.query_encoder.encode(features)
        ranking = inputs if bundle.shared_query_inputs else bundle.ranking_encoder.query.encode(features)
        vector = next(iter(bundle.query_tower.run(inputs).values()))
        return Encoded(features, ranking, vector, moment)

    def moment(self, query: Query, user: User, *, now: datetime) -> datetime:
        """Return when the request happens: its own time, or now on the release's clock.

        On the data clock "now" is `as_of`, or the user's newest event if that is later: time does not run
        backwards for someone who has just done something.
        """
        if query.timestamp is not None:
            return query.timestamp
        if self.bundle.manifest.clock == "wall":
            return now
        last = as_utc(user.features.get(LAST_KNOWN_AT))
        as_of = self.bundle.manifest.as_of
        return as_of if last is None else max(as_of, last)

    def hidden(self, query: Query, user: User) -> npt.NDArray[np.bool_]:
        """Return which items may not be shown, bool `[num_items]`."""
        catalogue = self.bundle.catalogue
        hidden = catalogue.hidden.copy()
        unwanted: Iterable[str] = query.exclude
        if self.bundle.rules.exclude_seen:
            unwanted = (*user.seen, *query.exclude)
        rows = [row for row in map(catalogue.rows.get, unwanted) if row is not None]
        hidden[rows] = True
        return hidden

    def retrieve(self, vector: Floats, hidden: npt.NDArray[np.bool_]) -> tuple[Rows, Floats]:
        """Return the nearest items that may be shown, and their scores: both `[at most num_candidates]`.

        The index cannot filter, so more is asked for; only when twice the candidates were not enough, as for
        a user who has seen most of what is near, all hidden items are made up for.
        """
        wanted, num_items = self.bundle.manifest.num_candidates, len(hidden)
        num_hidden = int(np.count_nonzero(hidden))
        rows, scores = self._shown(vector, hidden, min(num_items, wanted + min(num_hidden, wanted)))
        if len(rows) < min(wanted, num_items - num_hidden):
            rows, scores = self._shown(vector, hidden, min(num_items, wanted + num_hidden))
        return rows[:wanted], scores[:wanted]

    def _shown(self, vector: Floats, hidden: npt.NDArray[np.bool_], top_k: int) -> tuple[Rows, Floats]:
        rows, scores = (found[0] for found in self.bundle.index.search(vector, top_k))
        shown = (rows >= 0) & ~hidden[rows]
        return rows[shown], scores[shown]

    def rank(self, encoded: Encoded, rows: Rows, scores: Floats, origin: Origin) -> Scored:
        """Return candidates ordered by calibrated probability; equal ones keep their order."""
        if not len(rows):
            empty = np.zeros(0, dtype=np.float32)
            return Scored(rows, empty, empty, empty, origin)
        inputs = self.bundle.ranking_encoder.pair(
            encoded.ranking,
            self.bundle.item_inputs,
            query_rows=np.zeros(len(rows), dtype=np.int64),
            item_rows=rows,
            retrieval_score=scores,
            taste_match=self.taste_match(encoded.features, rows),
        )
        outputs = self.bundle.ranker.run(inputs)
        probability, value = (outputs[name].reshape(-1) for name in ("probability", "expected_value"))
        order = np.argsort(-probability, kind="stable")
        return Scored(rows[order], probability[order], value[order], scores[order], origin)

    def taste_match(self, features: pa.Table, rows: Rows) -> Floats:
        """Return how much of the user's taste each item covers, `[num_rows]`, by the code that trained on it."""
        repeated = features.select(["taste_categories", "taste_weights"]).take(np.zeros(len(rows), dtype=np.int64))
        return on_demand.taste_match(
            repeated.column(0), repeated.column(1), self.bundle.catalogue.categories.take(rows)
        )

    def item_features(self, features: pa.Table, rows: Rows) -> pa.Table:
        """Return `item_id`, the features and `taste_match` of items, as the ranker reads them for a query."""
        known = self.bundle.catalogue.features
        names = [ITEM_ID, *(name for name in ITEM_NAMES if name in known.column_names)]
        match = pa.array(self.taste_match(features, rows), pa.float32())
        return known.select(names).take(pa.array(rows)).append_column("taste_match", match)

    def similar(self, row: int, count: int) -> tuple[Rows, Floats]:
        """Return the items nearest to an item, itself and blocked ones left out."""
        hidden = self.bundle.catalogue.hidden.copy()
        hidden[row] = True
        vector = self.bundle.index.vectors(np.array([row], dtype=np.int32))
        rows, scores = self._shown(vector, hidden, min(len(hidden), count + int(np.count_nonzero(hidden))))
        return rows[:count], scores[:count]

    def popular(self, count: int) -> Rows:
        """Return the most popular items that are not blocked."""
        popular = self.bundle.catalogue.popular
        return popular[~self.bundle.catalogue.hidden[popular]][:count]

    def _popular(self, hidden: npt.NDArray[np.bool_], chosen: Rows, count: int) -> Rows:
        """Popular items that were not candidates yet; the whole list when a category rule may refuse some."""
        popular = self.bundle.catalogue.popular
        fill = popular[~hidden[popular] & ~np.isin(popular, chosen)]
        return fill if self.bundle.rules.max_per_category else fill[:count]

    def _similarity(self, vector: Floats, rows: Rows) -> Floats:
        return np.asarray(self.bundle.index.vectors(rows) @ vector[0], dtype=np.float32)

    def _allowed(self, ranked: Scored, count: int, per_category: Counter[str]) -> Iterator[Choice]:
        """Yield up to `count` candidates in order, none of which exceeds the limit of a category."""
        limit = self.bundle.rules.max_per_category
        taken = 0
        columns = (ranked.rows, ranked.probability, ranked.expected_value, ranked.retrieval_score)
        # Without a category rule the first `count` are the answer; the others need not become Python objects.
        stop = len(ranked.rows) if limit else count
        for row, probability, value, score in zip(*(column[:stop].tolist() for column in columns), strict=True):
            if taken == count:
                return
            if limit:
                categories = self.bundle.catalogue.categories[row].as_py() or ()
                if any(per_category[category] >= limit for category in categories):
                    continue
                per_category.update(categories)
            taken += 1
            yield Choice(row, probability, value, score, ranked.origin)


def query_features(query: Query, user: User, moment: datetime) -> pa.Table:
    """Return one row with the user and context columns of the feature services.

    Args:
        query: user, device.
        user: features; what is not known stays null, and the encoders fill in their defaults.
        moment: when the request happens.
    """
    columns = {name: pa.array([_typed(user.features, name)], type_) for name, type_ in USER_TYPES.items()}
    columns |= {"user_id": pa.array([query.user_id]), "device": pa.array([query.device], pa.string())}
    request = pa.array([moment], TIMESTAMP)
    columns |= on_demand.request_context(request)
    columns["days_since_last_event"] = on_demand.days_since_last_event(request, columns[LAST_KNOWN_AT])
    return pa.table(columns)


def _typed(features: Mapping[str, Any], name: str) -> Any:
    value = features.get(name)
    return as_utc(value) if name == LAST_KNOWN_AT else value
