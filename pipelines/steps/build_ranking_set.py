"""Build (query, candidate) pairs as a live system would have logged them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import RankingConfig
from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID, ModelVersion, RankingSet, TrainingSet
from pipelines.errors import TrainingError
from pipelines.inputs.arrays import contiguous
from pipelines.models.candidates import Floats, Mask, Rows, popular_rows, retrieve, sample_pairs
from pipelines.models.interactions import Timeline
from pipelines.models.systems import add_context
from pipelines.models.vectors import ItemVectors, embed_items, embed_queries, products
from pipelines.stores.artifacts import content_key, file_digest
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.feature_store import SERVING_SERVICE
from pipelines.stores.revision import code_digest

Split = Literal["train", "validation"]
NUM_CHECKPOINTS = 6
MAX_VALIDATION_QUERIES = 1_000
MICROSECONDS_A_DAY = 86_400_000_000
SPLITS: tuple[Split, ...] = ("train", "validation")
QUERIES_FILE, PAIRS_FILE = "{split}_queries.parquet", "{split}.parquet"
QUERIES_AT_ONCE = 1_024
_QUERY_COLUMNS = ["taste_categories", "taste_weights", EVENT_TIMESTAMP]


def build_ranking_set(
    training_set: TrainingSet,
    retrieval: ModelVersion,
    *,
    config: RankingConfig,
    feature_store: Any,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
) -> RankingSet:
    """Publish candidates of sampled queries with what was known of both sides; equal arguments, equal folder.

    A query is a user's state at a moment; its candidates are retrieval's list from the items known then, without what
    the user had seen, and some drawn by popularity; a candidate is positive if the user went on to use it, within the
    same window and as long a time as the validation window is. Training queries are at labels of the newer half of
    the training window. Validation is the evaluation, one window earlier: each user of the validation window asks
    once, at its start, and whole lists are kept.

    Args:
        training_set: labels with query features.
        retrieval: whose lists and scores are used.
        config: numbers of queries and candidates.
        feature_store: gives item features at a moment and joins them to candidates.
        registry: has the retrieval bundle.
        artifacts: where the folder is published.
        seed: decides the sample.

    Raises:
        TrainingError: a window has no labels.
    """
    dataset = training_set.features.snapshot.dataset
    key = content_key(
        training_set=training_set.fingerprint,
        retrieval=retrieval.digest,
        config=config.model_dump(include={"num_queries", "num_candidates", "retrieved_share", "num_retrieved"}),
        seed=seed,
        code=code_digest("steps/build_ranking_set.py", "models/candidates.py", "models/vectors.py", "inputs"),
    )

    def write(folder: Path) -> None:
        bundle = registry.download(retrieval)
        for number, split in enumerate(SPLITS):
            window, rng = _Window.read(training_set, split), np.random.default_rng([seed, number])
            sample = window.sample_training if split == "train" else window.sample_validation
            rows = sample(config.num_queries if split == "train" else MAX_VALIDATION_QUERIES, rng)
            builder = _PairBuilder(window, bundle, training_set, config, feature_store, rng)
            queries = window.labels.take(pa.array(rows)) if split == "train" else builder.at_cut(rows)
            pairs = builder.build(rows, queries, whole=split == "validation")
            pq.write_table(queries, folder / QUERIES_FILE.format(split=split))
            pq.write_table(pairs, folder / PAIRS_FILE.format(split=split))

    folder = artifacts.local(uri := artifacts.publish(f"{dataset}/build_ranking_set/{key}", write))
    return RankingSet(
        training_set=training_set,
        retrieval=retrieval,
        uri=uri,
        fingerprint=content_key(**{p.name: file_digest(p) for p in sorted(folder.glob("*.parquet"))}),
        feature_service=training_set.feature_service,
        num_rows={split: pq.read_metadata(folder / PAIRS_FILE.format(split=split)).num_rows for split in SPLITS},
    )


@dataclass(frozen=True)
class _Window:
    """Labels of a split, with their features, among all events until the split ends.

    Attributes:
        labels: labels of the split in order of time.
        user: number of each label's user, `[num_labels]`.
        timeline: events of the training window and, for validation, then those of its window: what is a future in
            training may not be what validation asks for.
        first: number of the split's first label in the timeline.
    """

    labels: pa.Table
    user: Rows
    timeline: Timeline
    first: int

    @classmethod
    def read(cls, training_set: TrainingSet, split: Split) -> "_Window":
        folder, columns = Path(training_set.uri), [USER_ID, ITEM_ID, "value", EVENT_TIMESTAMP]
        files = {name: folder / f"{name}.parquet" for name in SPLITS}
        labels = pq.read_table(files[split], columns=_query_columns(files[split]))
        if labels.num_rows == 0:
            raise TrainingError(
                f"{files[split]} has 0 labels; expected at least 1. Raise split.validation_share, or ingest more data"
            )
        earlier = [] if split == "train" else [pq.read_table(files["train"], columns=columns)]
        events = pa.concat_tables([*earlier, labels.select(columns)])
        timeline = Timeline.of(*(events[name] for name in columns))
        user = np.asarray(contiguous(labels[USER_ID]).dictionary_encode().indices, dtype=np.int64)
        return cls(labels, user, timeline, events.num_rows - labels.num_rows)

    def sample_training(self, num_queries: int, rng: np.random.Generator) -> Rows:
        """Return label rows of the newer half, one of each user and day first, then a second one, and so on.

        Otherwise the few who do a hundred things a day would be most of the queries.
        """
        rows = rng.permutation(np.arange(self.labels.num_rows // 2, self.labels.num_rows))
        day = self.labels[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()[rows] // MICROSECONDS_A_DAY
        by_group = np.lexsort((day, self.user[rows]))
        changed = (np.diff(self.user[rows][by_group]) != 0) | (np.diff(day[by_group]) != 0)
        start = np.maximum.accumulate(np.where(np.r_[True, changed], np.arange(len(rows)), 0))
        turn = np.empty(len(rows), dtype=np.int64)
        turn[by_group] = np.arange(len(rows)) - start
        return np.sort(rows[np.argsort(turn, kind="stable")[:num_queries]])

    def sample_validation(self, num_queries: int, rng: np.random.Generator) -> Rows:
        """Return the first label of each user."""
        _, first = np.unique(self.user, return_index=True)
        return np.sort(rng.permutation(first)[:num_queries])


@dataclass(frozen=True)
class _PairBuilder:
    """Makes the pairs of one split."""

    window: _Window
    bundle: Path
    training_set: TrainingSet
    config: RankingConfig
    feature_store: Any
    rng: np.random.Generator

    @property
    def _horizon(self) -> timedelta:
        """How far a query looks ahead: as long as the validation window is."""
        return self.training_set.test_start - self.training_set.validation_start

    def at_cut(self, rows: Rows) -> pa.Table:
        """Return the users of label `rows` as they were at the start of the validation window."""
        cut = self.training_set.validation_start
        moments = pa.array([cut] * len(rows), pa.timestamp("us", tz="UTC"))
        users = pa.table({USER_ID: self.window.labels[USER_ID].take(pa.array(rows)), EVENT_TIMESTAMP: moments})
        features = self.feature_store.historical(users, SERVING_SERVICE, features=self.training_set.features)
        return add_context(features, moments)

    def build(self, rows: Rows, queries: pa.Table, *, whole: bool) -> pa.Table:
        """Return the pairs of queries, with item features as of each query's moment.

        Args:
            rows: label of the window from which on a query's events are in its future, `[num_queries]`.
            queries: features of the queries, in order of time, `[num_queries]`.
            whole: keep whole lists instead of samples.
        """
        features = self.training_set.features
        embeddings = embed_queries(self.bundle, queries)
        parts = []
        for moment, members in self._checkpoints(queries[EVENT_TIMESTAMP]):
            items = self.feature_store.items_at(moment, features=features)
            corpus = embed_items(self.bundle, items)
            for start in range(0, len(members), QUERIES_AT_ONCE):
                some = members[start : start + QUERIES_AT_ONCE]
                parts.append(self._candidates(some, rows[some], embeddings[some], items, corpus, whole=whole))
        pairs = pa.concat_tables(parts)
        of_query = queries.select(_QUERY_COLUMNS).take(pairs["query_id"])
        for name in _QUERY_COLUMNS:
            pairs = pairs.append_column(name, of_query[name])
        return self.feature_store.join_candidates(pairs, features=features).drop_columns(_QUERY_COLUMNS)

    def _candidates(
        self, query_ids: Rows, rows: Rows, queries: Floats, items: pa.Table, corpus: ItemVectors, *, whole: bool
    ) -> pa.Table:
        events, ids = self.window.first + rows, items[ITEM_ID].combine_chunks()
        seen = self.window.timeline.before(events, ids)
        future, values = self.window.timeline.following(events, ids, within=self._horizon)
        lists, scores = retrieve(queries, corpus, self.config.num_retrieved, excluded=seen)
        if not whole:
            lists, scores = self._with_popular(lists, scores, queries, items, corpus, seen)
        positive = np.take_along_axis(future & ~seen, np.maximum(lists, 0), axis=1) & (lists >= 0)
        limit = lists.shape[1] if whole else self.config.num_candidates
        pairs = sample_pairs(lists, scores, positive, num_candidates=limit, rng=self.rng)
        label = future[pairs.query, pairs.item]
        return pa.table(
            {
                "query_id": query_ids[pairs.query],
                ITEM_ID: ids.take(pa.array(pairs.item)),
                "label": label.astype(np.float32),
                "value": np.where(label, values[pairs.query, pairs.item], np.nan).astype(np.float32),
                "weight": pairs.weight,
                "retrieval_score": pairs.score,
            }
        )

    def _with_popular(
        self, lists: Rows, scores: Floats, queries: Floats, items: pa.Table, corpus: ItemVectors, seen: Mask
    ) -> tuple[Rows, Floats]:
        """Append items drawn by popularity, so that they make up 1 - retrieved_share of the lists."""
        share = self.config.retrieved_share
        extra = round(lists.shape[1] * (1 - share) / max(share, 0.05))
        popularity = items["item_num_events_30d"].fill_null(0).to_numpy()
        drawn = popular_rows(popularity, (len(lists), extra), self.rng)
        repeated = np.take_along_axis(seen, drawn, axis=1) | (drawn[:, :, None] == lists[:, None, :]).any(axis=2)
        drawn_scores = np.take_along_axis(products(queries, corpus), drawn, axis=1)
        return np.hstack([lists, np.where(repeated, -1, drawn)]), np.hstack([scores, drawn_scores])

    def _checkpoints(self, moments: pa.ChunkedArray) -> list[tuple[datetime, Rows]]:
        """Return moments at which the corpus is embedded, and the queries that see it so: none is before it.

        Queries are in order of time; each group of neighbours sees the corpus as of its first.
        """
        groups = np.array_split(np.arange(len(moments)), min(NUM_CHECKPOINTS, len(moments)))
        return [(moments[int(group[0])].as_py(), group) for group in groups]


def _query_columns(file: Path) -> list[str]:
    """Return the columns of labels that describe the query, not the item."""
    item_side = {"title", "text", "categories", "taste_match"}
    names = pq.read_schema(file).names
    return [name for name in names if name not in item_side and (name == ITEM_ID or not name.startswith("item_"))]
