"""Measure a pair of models on the temporal holdout, beside what it has to beat."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import EvaluationConfig, SourceConfig
from pipelines.contracts import (
    CHAMPION,
    EVENT_TIMESTAMP,
    EVENTS,
    INGESTED_AT,
    ITEM_ID,
    RECOMMENDER,
    USER_ID,
    Evaluation,
    ModelVersion,
    TrainingSet,
)
from pipelines.errors import TrainingError
from pipelines.models import cold_start, systems
from pipelines.models.baselines import baseline_orders, left_out
from pipelines.models.candidates import Rows
from pipelines.models.evaluation_page import REPORT, write_evaluation
from pipelines.models.holdout import Holdout, Measured, measure
from pipelines.models.interactions import codes
from pipelines.models.retrievers.catalogue import TWO_TOWER
from pipelines.models.significance import bootstrap_interval
from pipelines.release.manifest import read_manifest
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.feature_store import SERVING_SERVICE
from pipelines.stores.revision import code_digest

TIMESTAMP = pa.timestamp("us", tz="UTC")


def evaluate_models(
    training_set: TrainingSet,
    retrieval: ModelVersion,
    ranking: ModelVersion,
    *,
    config: EvaluationConfig,
    source: SourceConfig,
    feature_store: Any,
    lake: Any,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
) -> Evaluation:
    """Publish a report on the pair; equal arguments give the report that is there already.

    Each user with events in the test window asks once, at its start, with features as of that moment. Relevant are
    the items they then used and had not before. Every system ranks the whole corpus known at that moment, without
    seen items; ties are counted worst case. Models run as exported, in onnxruntime.

    Args:
        training_set: names snapshot and cut.
        retrieval: the towers.
        ranking: the ranker trained on that retrieval's candidates.
        config: ks, number of users and of candidates, and the baselines.
        source: its delay decides what was known; a synthetic source also gives the best achievable lists.
        feature_store: gives features as of the cut.
        lake: gives the events.
        registry: has the bundles and the champion, and gets the metrics.
        artifacts: where the report is published.
        seed: decides the sample of users, the bootstrap and the synthetic law.

    Raises:
        TrainingError: no user of the test window used anything new.
    """
    dataset = training_set.features.snapshot.dataset
    champion = _champion(registry, training_set, (retrieval, ranking))
    key = content_key(
        training_set=training_set.fingerprint,
        models=[retrieval.digest, ranking.digest, *(model.digest for model in champion or ())],
        config=config.model_dump(),
        seed=seed,
        code=code_digest("inputs", "models", "steps/evaluate_models.py"),
    )

    def write(folder: Path) -> None:
        evaluator = _Evaluator(training_set, config, source, feature_store, lake, registry, seed)
        evaluator.run(folder, {RECOMMENDER: (retrieval, ranking), **({CHAMPION: champion} if champion else {})})

    folder = artifacts.local(uri := artifacts.publish(f"{dataset}/evaluate_models/{key}", write))
    report = json.loads((folder / REPORT).read_text())
    for model, system in ((retrieval, "retrieval"), (ranking, RECOMMENDER)):
        registry.log_metrics(model, {f"test_{name}": value for name, value in report["metrics"][system].items()})
        registry.log_artifacts(model, {folder: "evaluation"})
    return Evaluation(
        training_set=training_set,
        retrieval=retrieval,
        ranking=ranking,
        uri=uri,
        metrics=report["metrics"],
        differences={report["interval_metric"]: report["differences"][RECOMMENDER]},
    )


def _champion(
    registry: ModelRegistry, training_set: TrainingSet, pair: tuple[ModelVersion, ModelVersion]
) -> tuple[ModelVersion, ModelVersion] | None:
    """Return the champion release's models, if another pair, of this data set, and fitted before this holdout."""
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    if champion is None or champion.dataset != training_set.features.snapshot.dataset:
        return None
    manifest = read_manifest(registry.download(champion))
    if (manifest.retrieval.digest, manifest.ranking.digest) == tuple(model.digest for model in pair):
        return None
    fitted = json.loads((registry.download(manifest.retrieval) / "bundle.json").read_text())["fitted_until"]
    if datetime.fromisoformat(fitted) > training_set.test_start:
        return None
    return manifest.retrieval, manifest.ranking


@dataclass(frozen=True)
class _Evaluator:
    """Builds holdouts, runs the systems on them, writes the report."""

    training_set: TrainingSet
    config: EvaluationConfig
    source: SourceConfig
    feature_store: Any
    lake: Any
    registry: ModelRegistry
    seed: int

    def run(self, folder: Path, pairs: Mapping[str, tuple[ModelVersion, ModelVersion]]) -> None:
        """Write report.json, per_user.parquet, report.html and plots into `folder`."""
        cut = self.training_set.test_start
        holdout = self._holdout(cut, "test")
        if not len(holdout.users):
            raise TrainingError(
                f"no user of the {self.training_set.num_rows['test']} test labels used an item they had not used "
                "before; expected at least one. Raise split.test_share, or ingest more data"
            )
        queries = self._queries(holdout.users, cut)
        window = systems.best_window(
            self._holdout(self.training_set.validation_start, "validation"), self.config.metric, self.config.ks
        )
        tops: dict[str, Rows] = {"popularity": systems.popularity(holdout, window, self._top_k)}
        tops |= self._baselines(holdout, cut)
        for name, (retrieval, ranking) in pairs.items():
            tops |= self._pair(name, holdout, queries, retrieval, ranking)
        oracle = self._oracle(holdout, cut)
        if oracle is not None:
            tops["oracle"] = oracle
        measured = {name: measure(holdout, top, self.config.ks) for name, top in tops.items()}
        report = self._report(holdout, measured, window, pairs)
        write_evaluation(folder, report, measured, holdout, self.config, seed=self.seed)

    @property
    def _top_k(self) -> int:
        return max(self.config.ks)

    def _pair(
        self, name: str, holdout: Holdout, queries: pa.Table, retrieval: ModelVersion, ranking: ModelVersion
    ) -> dict[str, Rows]:
        embedded = systems.embed(self.registry.download(retrieval), queries, holdout.items)
        ordered = systems.recommended_order(
            holdout,
            embedded,
            self.registry.download(ranking),
            queries,
            num_candidates=self.config.num_candidates,
            top_k=self._top_k,
        )
        alone = {"retrieval": systems.retrieval_order(holdout, embedded, self._top_k)} if name == RECOMMENDER else {}
        return {**alone, name: ordered}

    def _baselines(self, holdout: Holdout, cut: datetime) -> dict[str, Rows]:
        """Return the lists of the configured baselines, fitted on the labels of the training window."""
        too_large = self._left_out(holdout)
        names = [name for name in self.config.baselines if name not in too_large]
        columns = [USER_ID, ITEM_ID, EVENT_TIMESTAMP, "value"]
        train = pq.read_table(Path(self.training_set.uri) / "train.parquet", columns=columns)
        before = self._known_before(cut)
        return baseline_orders(names, train, before, holdout, self._top_k, seed=self.seed)

    def _left_out(self, holdout: Holdout) -> list[str]:
        return left_out(self.config.baselines, holdout.items.num_rows, max_items=self.config.baseline_max_items)

    def _holdout(self, cut: datetime, split: str) -> Holdout:
        window = pq.read_table(Path(self.training_set.uri) / f"{split}.parquet", columns=[USER_ID, ITEM_ID])
        users = window[USER_ID].unique().sort()
        if len(users) > self.config.max_users:
            chosen = np.random.default_rng(self.seed).permutation(len(users))[: self.config.max_users]
            users = users.take(pa.array(np.sort(chosen)))
        items = self.feature_store.items_at(cut, features=self.training_set.features)
        return Holdout.of(
            self._known_before(cut),
            window,
            items,
            users,
            trained_until=self.training_set.validation_start,
            sparse_events=self.config.cold_start.sparse_events,
        )

    def _known_before(self, cut: datetime) -> pa.Table:
        """Return user, item and time of the events that were known before `cut`."""
        version = self.training_set.features.snapshot.versions[EVENTS]
        columns = [USER_ID, ITEM_ID, EVENT_TIMESTAMP, INGESTED_AT]
        events = self.lake.read(EVENTS, version=version, columns=columns)
        limit = pa.scalar(cut - timedelta(seconds=self.source.delay_seconds), TIMESTAMP)
        known = pc.and_(pc.less(events[EVENT_TIMESTAMP], limit), pc.less(events[INGESTED_AT], limit))
        return events.filter(known).select([USER_ID, ITEM_ID, EVENT_TIMESTAMP])

    def _queries(self, users: pa.Array, moment: datetime) -> pa.Table:
        moments = pa.array([moment] * len(users), TIMESTAMP)
        rows = pa.table({USER_ID: users, EVENT_TIMESTAMP: moments})
        features = self.feature_store.historical(rows, SERVING_SERVICE, features=self.training_set.features)
        return systems.add_context(features, moments)

    def _oracle(self, holdout: Holdout, cut: datetime) -> Rows | None:
        """Return the lists no recommender can beat in expectation, for data whose law is known."""
        if self.source.kind != "synthetic":
            return None
        from pipelines.sources.synthetic import SyntheticSource

        ids = holdout.items[ITEM_ID].combine_chunks()
        names = np.array(ids.to_pylist(), dtype=object)
        seen = [names[row].tolist() for row in holdout.seen]
        law = SyntheticSource(self.source.synthetic, seed=self.seed)
        end = self.training_set.features.snapshot.as_of
        lists = law.best_items(holdout.users.to_pylist(), cut, self._top_k, exclude=seen, until=end)
        lengths = {len(row) for row in lists}
        return codes(pa.array([item for row in lists for item in row]), ids).reshape(len(lists), lengths.pop())

    def _retrieval_model(self, retrieval: ModelVersion) -> str:
        manifest = json.loads((self.registry.download(retrieval) / "bundle.json").read_text())
        return str(manifest.get("model", TWO_TOWER))  # versions of earlier releases name none

    def _report(
        self,
        holdout: Holdout,
        measured: Mapping[str, Measured],
        window: str,
        pairs: Mapping[str, tuple[ModelVersion, ModelVersion]],
    ) -> dict[str, Any]:
        snapshot = self.training_set.features.snapshot
        metric = self.config.metric
        intervals = {
            name: bootstrap_interval(result.per_user[metric], seed=self.seed) for name, result in measured.items()
        }
        slices = {
            name: {system: result.slices[name] for system, result in measured.items()}
            for name in next(iter(measured.values())).slices
        }
        goals = cold_start.goals(slices, RECOMMENDER, metric, self.config.cold_start)
        return {
            "dataset": snapshot.dataset,
            "snapshot": snapshot.snapshot_id,
            "cut": self.training_set.test_start.isoformat(),
            "num_users": len(holdout.users),
            "num_items": holdout.items.num_rows,
            "num_candidates": self.config.num_candidates,
            "retrieval_model": self._retrieval_model(pairs[RECOMMENDER][0]),
            "baselines": ["popularity", *(name for name in self.config.baselines if name in measured)],
            "baselines_left_out": self._left_out(holdout),
            "baseline_max_items": self.config.baseline_max_items,
            "popularity_window": window,
            "interval_metric": metric,
            "intervals": intervals,
            "metrics": {name: result.overall for name, result in measured.items()},
            "slices": slices,
            "cold_start": cold_start.as_json(goals, metric),
            "cold_start_notes": [goal.sentence("recommender", metric) for goal in goals],
        }
