"""Train the two-tower model on a training set and register it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import RetrievalConfig
from pipelines.contracts import ITEM_ID, RETRIEVAL_MODEL, ModelVersion, TrainingSet
from pipelines.errors import TrainingError
from pipelines.inputs.item_encoder import ITEM_FEATURES, ItemEncoder
from pipelines.inputs.query_encoder import QUERY_FEATURES, QueryEncoder
from pipelines.models.retrieval import RetrievalData, export_towers, train_two_tower
from pipelines.models.training import Fit
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry, RunRecord
from pipelines.stores.declared import plain
from pipelines.stores.revision import code_digest

FEATURE_SERVICE = "retrieval_v1"
NUM_VALIDATION = 4_000
ITEM_COLUMNS = ("item_id", "title", "text", "categories", "item_num_events_1d", "item_num_events_7d",
                "item_num_events_30d", "item_num_events")  # fmt: skip


def train_retrieval(
    training_set: TrainingSet,
    *,
    config: RetrievalConfig,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
) -> ModelVersion:
    """Train the retrieval model and register a version; equal arguments give the version that is there already.

    The bundle holds both towers as ONNX (inputs as the encoders say it, output float32 `[batch, embedding_dim]`,
    L2-normalised), their encoders, the Keras model and `bundle.json`.

    Args:
        training_set: labels with the features of `retrieval_v1`.
        config: the model and how to train it.
        registry: gets the version.
        artifacts: where the bundle is written before it is registered.
        seed: decides initial weights, order of rows and dropout.

    Raises:
        TrainingError: there is no label to learn from, or training diverged.
    """
    key = content_key(
        training_set=training_set.fingerprint,
        config=config.model_dump(),
        seed=seed,
        code=code_digest("inputs", "models"),
    )
    found = registry.find(RETRIEVAL_MODEL, key=key)
    if found is not None:
        return found
    dataset = training_set.features.snapshot.dataset
    uri = artifacts.publish(
        f"{dataset}/train_retrieval/{key}", lambda folder: _train(folder, training_set, config=config, seed=seed)
    )
    folder = artifacts.local(uri)
    report = json.loads((folder / "run.json").read_text())
    record = RunRecord(
        name=f"retrieval-{key[:8]}",
        params={**{f"retrieval.{name}": value for name, value in config.model_dump().items()}, "seed": seed},
        metrics=report["metrics"],
        curves=report["curves"],
        tags=lineage(training_set, FEATURE_SERVICE),
        artifacts={folder / "plots": "plots"},
    )
    return registry.register(
        RETRIEVAL_MODEL, folder / "bundle", key=key, dataset=dataset, record=record, onnx="query_tower.onnx"
    )


def lineage(training_set: TrainingSet, feature_service: str) -> dict[str, str]:
    """Return the tags that say what a model was made from."""
    snapshot = training_set.features.snapshot
    return {
        "tandem.snapshot": snapshot.snapshot_id,
        "tandem.as_of": snapshot.as_of.isoformat(),
        "tandem.lake_versions": json.dumps({**snapshot.versions, **training_set.features.versions}, sort_keys=True),
        "tandem.training_set": training_set.fingerprint,
        "tandem.feature_service": feature_service,
    }


def _train(folder: Path, training_set: TrainingSet, *, config: RetrievalConfig, seed: int) -> None:
    """Write `bundle/`, `plots/` and `run.json`."""
    train, validation = (_labels(training_set, split, config) for split in ("train", "validation"))
    item_encoder, query_encoder = fit_encoders(train, config)
    data = _encode(train, validation, item_encoder, query_encoder, seed=seed)
    sizes = {name: v.size for name, v in {**query_encoder.vocabularies, **item_encoder.vocabularies}.items()}
    model, fit = train_two_tower(
        data,
        query_shapes=query_encoder.shapes,
        item_shapes=item_encoder.shapes,
        sizes=sizes,
        config=config,
        seed=seed,
    )
    bundle = folder / "bundle"
    query_encoder.save(bundle / "query_inputs")
    item_encoder.save(bundle / "item_inputs")
    export_towers(model, bundle, data)
    manifest = _manifest(training_set, config, history_length=query_encoder.widths["history"])
    (bundle / "bundle.json").write_text(json.dumps(manifest, indent=2))
    _write_run(folder, fit, num_parameters=model.count_params(), num_rows=train.num_rows)


def fit_encoders(train: pa.Table, config: RetrievalConfig) -> tuple[ItemEncoder, QueryEncoder]:
    """Fit both encoders on training-window labels; history and taste share the items' vocabularies."""
    items = ItemEncoder.fit(train, num_oov_buckets=config.num_oov_buckets, max_text_tokens=config.max_text_tokens)
    queries = QueryEncoder.fit(
        train,
        item_vocabulary=items.vocabularies["item"],
        category_vocabulary=items.vocabularies["category"],
        num_oov_buckets=config.num_oov_buckets,
    )
    return items, queries


def _labels(training_set: TrainingSet, split: str, config: RetrievalConfig) -> pa.Table:
    """Return the positive labels of a split, in order of time."""
    file = Path(training_set.uri) / f"{split}.parquet"
    labels = pq.read_table(file)
    if config.min_positive_value is not None:
        labels = labels.filter(pc.fill_null(pc.greater_equal(labels["value"], config.min_positive_value), False))
    if labels.num_rows == 0:
        raise TrainingError(
            f"{file} has 0 positive labels (retrieval.min_positive_value={config.min_positive_value}); expected at "
            "least 1. Lower it, or run `tandem build-training-set` on more data"
        )
    return labels


def _encode(
    train: pa.Table, validation: pa.Table, items: ItemEncoder, queries: QueryEncoder, *, seed: int
) -> RetrievalData:
    """Encode training labels, a sample of validation labels, and the corpus those are looked for in."""
    corpus = latest_items(train)
    known = pc.is_in(validation[ITEM_ID], value_set=corpus[ITEM_ID].combine_chunks())
    sample = validation.filter(known)
    chosen = np.random.default_rng(seed).permutation(sample.num_rows)[:NUM_VALIDATION]
    # A window of new items alone has no label to look for: the newest training label stands in.
    sample = sample.take(np.sort(chosen)) if len(chosen) else train.slice(train.num_rows - 1)
    rows = pc.index_in(sample[ITEM_ID], value_set=corpus[ITEM_ID].combine_chunks())
    return RetrievalData(
        queries=queries.encode(train),
        items=items.encode(train),
        validation_queries=queries.encode(sample),
        validation_rows=np.asarray(rows, dtype=np.int64),
        corpus=items.encode(corpus),
    )


def latest_items(labels: pa.Table) -> pa.Table:
    """Return the item columns of each item's newest label, in order of `item_id`."""
    row = pa.table({ITEM_ID: labels[ITEM_ID], "row": np.arange(labels.num_rows)})
    newest = row.group_by(ITEM_ID).aggregate([("row", "max")]).sort_by(ITEM_ID)
    columns = [name for name in ITEM_COLUMNS if name in labels.column_names]
    return labels.select(columns).take(newest["row_max"])


def feature_types(training_set: TrainingSet, features: Iterable[str]) -> dict[str, str]:
    """Return feature -> Arrow type of those that a training set has: what a model was trained with."""
    schema = pq.read_schema(Path(training_set.uri) / "train.parquet")
    return {name: plain(schema.field(name).type) for name in features if name in schema.names}


def _manifest(training_set: TrainingSet, config: RetrievalConfig, *, history_length: int) -> dict[str, Any]:
    return {
        "kind": "retrieval",
        "dataset": training_set.features.snapshot.dataset,
        "feature_service": FEATURE_SERVICE,
        "features": feature_types(training_set, (*QUERY_FEATURES, *ITEM_FEATURES)),
        "embedding_dim": config.embedding_dim,
        "history_length": history_length,
        "fitted_until": training_set.validation_start.isoformat(),
        "training_set": training_set.fingerprint,
    }


def _write_run(folder: Path, fit: Fit, **metrics: float) -> None:
    from pipelines.models.plots import learning_curve

    (folder / "plots").mkdir()
    learning_curve(folder / "plots" / "learning_curve.png", fit.curves)
    values = {**fit.at_best(), "best_epoch": fit.best_epoch, **metrics}
    (folder / "run.json").write_text(json.dumps({"metrics": values, "curves": fit.curves}, indent=2))
