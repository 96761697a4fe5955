"""Bind towers, ranker, index and item features into one registered release."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipelines.config import RulesConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, USER_ID, Evaluation, IndexManifest, ModelVersion, Release
from pipelines.errors import IntegrityError
from pipelines.release import manifest as layout
from pipelines.release.assembly import write_release
from pipelines.stores.artifacts import check_folder, content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry, RunRecord
from pipelines.stores.declared import Types, declared_features
from pipelines.stores.feature_store import SERVING_SERVICE

NUM_SAMPLE_USERS = 20


def assemble_release(
    evaluation: Evaluation,
    index: IndexManifest,
    *,
    config: RulesConfig,
    num_candidates: int,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
) -> Release:
    """Register a version of `recommender` that holds all that serving needs; equal parts give the same version.

    Args:
        evaluation: the evaluated pair of models and its metrics.
        index: built from the same retrieval version.
        config: business rules.
        num_candidates: items retrieved before ranking, as evaluated.
        registry: has the bundles and gets the release.
        artifacts: where the index is.

    Raises:
        IntegrityError: the index is of another retrieval version than the evaluated one, its bytes changed, or a
            bundle does not name the feature service that its model was trained with.
        ConfigError: the feature service of new releases is not declared.
    """
    services = _feature_services(evaluation, registry)
    user_features = declared_features(services["user"])
    snapshot = evaluation.training_set.features.snapshot
    parts = {"retrieval": evaluation.retrieval.digest, "ranking": evaluation.ranking.digest, "index": index.digest}
    # Whom it was compared with is no part of a release: running everything again beside a champion is no new version.
    metrics = {system: values for system, values in evaluation.metrics.items() if system != CHAMPION}
    key = content_key(
        **parts,
        services=services,
        user_features=user_features,
        rules=config.model_dump(),
        metrics=metrics,
        snapshot=snapshot.snapshot_id,
        n=num_candidates,
    )
    model = registry.find(RECOMMENDER, key=key)
    if model is None:
        manifest = _manifest(evaluation, index, services, user_features, num_candidates, registry)
        model = _register(evaluation, index, key, config, manifest, registry, artifacts)
    return Release(
        model=model,
        retrieval=evaluation.retrieval,
        ranking=evaluation.ranking,
        index=index,
        snapshot=snapshot,
        metrics=_flat_metrics(evaluation, index),
        differences=evaluation.differences,
    )


def _register(
    evaluation: Evaluation,
    index: IndexManifest,
    key: str,
    config: RulesConfig,
    manifest: layout.ReleaseManifest,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
) -> ModelVersion:
    corpus = artifacts.local(index.uri)
    check_folder(corpus, index.digest)
    with tempfile.TemporaryDirectory(prefix="tandem-release-") as scratch:
        manifest = write_release(
            Path(scratch),
            retrieval=registry.download(evaluation.retrieval),
            ranking=registry.download(evaluation.ranking),
            corpus=corpus,
            rules=config,
            manifest=manifest,
        )
        record = RunRecord(
            name=f"release-{key}",
            params={f"rules.{name}": value for name, value in config.model_dump().items()},
            metrics=_flat_metrics(evaluation, index),
            tags=_tags(manifest, evaluation),
        )
        return registry.register(RECOMMENDER, Path(scratch), key=key, dataset=manifest.dataset, record=record)


def _feature_services(evaluation: Evaluation, registry: ModelRegistry) -> dict[str, str]:
    """Return the services that the models were trained with, and the one that serving reads of a user."""
    models = {"retrieval": evaluation.retrieval, "ranking": evaluation.ranking}
    trained = {role: str(_told(registry, model, "feature_service")) for role, model in models.items()}
    return trained | {"user": SERVING_SERVICE}


def _manifest(
    evaluation: Evaluation,
    index: IndexManifest,
    services: dict[str, str],
    user_features: Types,
    num_candidates: int,
    registry: ModelRegistry,
) -> layout.ReleaseManifest:
    snapshot = evaluation.training_set.features.snapshot
    part = layout.IndexPart(
        retrieval_version=index.retrieval.version,
        retrieval_digest=index.retrieval.digest,
        **index.model_dump(include={"kind", "num_items", "embedding_dim", "recall"}),
    )
    return layout.ReleaseManifest(
        dataset=snapshot.dataset,
        feast_project=snapshot.dataset.replace("-", "_"),
        feature_services=services,
        user_features=user_features,
        snapshot=snapshot,
        as_of=snapshot.as_of,
        history_length=int(_told(registry, evaluation.retrieval, "history_length")),
        num_candidates=num_candidates,
        retrieval=evaluation.retrieval,
        ranking=evaluation.ranking,
        index=part,
        metrics=evaluation.metrics,
        sample_users=_sample_users(Path(evaluation.training_set.uri)),
        files={},
    )


def _told(registry: ModelRegistry, model: ModelVersion, name: str) -> Any:
    """Return what a model's `bundle.json` says under `name`."""
    try:
        return json.loads((registry.download(model) / "bundle.json").read_text())[name]
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(
            f"bundle.json of version {model.version} of {model.name!r} does not give {name} ({error!r}); expected what "
            "training writes there. Train and evaluate again: `tandem train-models`"
        ) from error


def _sample_users(training_set: Path) -> tuple[str, ...]:
    """Return users of the test split, spread evenly over its distinct users in order of id."""
    users = pq.read_table(training_set / "test.parquet", columns=[USER_ID])[USER_ID].unique().sort()
    rows = np.unique(np.linspace(0, max(0, len(users) - 1), NUM_SAMPLE_USERS).astype(np.int64))
    return tuple(users.take(rows[rows < len(users)]).to_pylist())


def _flat_metrics(evaluation: Evaluation, index: IndexManifest) -> dict[str, float]:
    """Return the recommender's metrics by name, those of other systems behind their own, and the index's recall."""
    flat = dict(evaluation.metrics.get(RECOMMENDER, {}))
    for system, values in evaluation.metrics.items():
        if system != RECOMMENDER:
            flat |= {f"{system}_{name}": value for name, value in values.items()}
    return flat | {f"index_{name}": value for name, value in index.recall.items()}


def _tags(manifest: layout.ReleaseManifest, evaluation: Evaluation) -> dict[str, str]:
    return {
        "tandem.snapshot_id": manifest.snapshot.snapshot_id,
        "tandem.as_of": manifest.as_of.isoformat(),
        "tandem.lake_versions": json.dumps(manifest.snapshot.versions, sort_keys=True),
        "tandem.training_set": evaluation.training_set.fingerprint,
        "tandem.retrieval_version": manifest.retrieval.version,
        "tandem.ranking_version": manifest.ranking.version,
        "tandem.index_kind": manifest.index.kind,
    }
