"""Train a retrieval model on a training set and register it."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.config import DEFAULT_TRAINING, RetrievalConfig, TrainingConfig
from pipelines.contracts import (
    EVENT_TIMESTAMP,
    ITEM_ID,
    RETRIEVAL_MODEL,
    USER_ID,
    ModelVersion,
    TrainingSet,
)
from pipelines.errors import ConfigError, TrainingError
from pipelines.inputs.item_encoder import ITEM_FEATURES, ItemEncoder
from pipelines.inputs.query_encoder import QUERY_FEATURES, QueryEncoder
from pipelines.inputs.row_file import RowFile
from pipelines.inputs.supplied_vectors import SuppliedVectors
from pipelines.models.retrieval import export_towers, train_two_tower
from pipelines.models.retrievers.base import Retriever, RunOptions
from pipelines.models.retrievers.bundle import write_retriever
from pipelines.models.retrievers.catalogue import TWO_TOWER, configured_class, retriever_class, retriever_settings
from pipelines.models.retrievers.content_vectors import know_new_items_by_content
from pipelines.models.retrievers.measuring import validation_metrics
from pipelines.models.retrievers.similarity import Nearest, nearest
from pipelines.models.retrievers.training_data import LabelReader
from pipelines.models.training import Fit
from pipelines.steps.retrieval_labels import (
    NUM_VALIDATION,
    encode,
    feature_types,
    fit_encoders,
    labels_of,
    latest_items,
)
from pipelines.steps.training_run import RUN_FILE, found_version, publish_training
from pipelines.stores.artifacts import content_key, file_digest
from pipelines.stores.base import ArtifactStore, ModelRegistry, RunRecord
from pipelines.stores.revision import code_digest

FEATURE_SERVICE = "retrieval_v1"
SEQUENCE_COLUMNS = (USER_ID, ITEM_ID, "value", EVENT_TIMESTAMP, "device", "hour", "weekday", "attributes")


def train_retrieval(
    training_set: TrainingSet,
    *,
    config: RetrievalConfig,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
    checkpoints: Path | None = None,
    run: TrainingConfig = DEFAULT_TRAINING,
    nearest: Nearest = nearest,
) -> ModelVersion:
    """Train the retrieval model and register a version; equal arguments give the version that is there already.

    The bundle holds both sides (`query_tower.onnx`, inputs as the encoder says it, output float32
    `[batch, embedding_dim]`; `item_tower.onnx`, or sparse `item_vectors.npz`), which score by inner product, their
    encoders, the model itself and `bundle.json`. The two-tower model learns from the features, every other model of
    the catalogue from the sequences that the labels are. The run's page has its cost beside its metrics.

    Args:
        training_set: labels with the features of `retrieval_v1`.
        config: the model and how to train it.
        registry: gets the version.
        artifacts: where the bundle is written before it is registered.
        seed: decides initial weights, order of rows and dropout.
        checkpoints: folder in which a killed training leaves what the next call with equal arguments goes on from; None
            starts anew.
        run: devices and precision. On other devices the version that is there is found, and a killed training goes on.
        nearest: what looks for similar users and items; it decides no result, so it is no part of the key.

    Raises:
        TrainingError: there is no label to learn from, or training diverged.
        ConfigError: no model has the name, a setting is not the model's, or there are fewer devices.
    """
    chosen = chosen_model(config, outside=True)
    key = content_key(
        training_set=training_set.fingerprint,
        config=_without_place(config),
        seed=seed,
        precision=run.precision,
        code=code_digest("inputs", "models", "steps/train_retrieval.py", "steps/retrieval_labels.py"),
        **_outside_code(config, chosen),
    )
    found = found_version(registry, RETRIEVAL_MODEL, key=key, run=run)
    if found is not None:
        return found
    dataset = training_set.features.snapshot.dataset
    folder = publish_training(
        f"{dataset}/train_retrieval",
        lambda folder, kept: train_into(
            folder,
            training_set,
            config,
            RunOptions(seed, run.device, run.num_devices, run.precision, checkpoints=kept, nearest=nearest),
            run=run,
            model=chosen,
        ),
        key=key,
        artifacts=artifacts,
        checkpoints=checkpoints,
    )
    report = json.loads((folder / RUN_FILE).read_text())
    record = RunRecord(
        name=f"{config.model.replace(':', '.')}-{key[:8]}",
        params={**_params(config, chosen), **_run_params(run), "seed": seed},
        metrics=report["metrics"],
        curves=report["curves"],
        tags=lineage(training_set, FEATURE_SERVICE) | {"tandem.model": config.model},
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


def chosen_model(config: RetrievalConfig, *, outside: bool = False) -> Retriever | None:
    """Return the model of the configuration, not trained; None for the two-tower model.

    Args:
        config: names the model.
        outside: whether it may be imported from outside the catalogue (`package.module:Class`): only where `config` is
            that of this run, never where it was stored, as with a search.

    Raises:
        ConfigError: no model has the name, or a setting is not the model's.
        TrainingError: the model is for comparison alone.
    """
    if config.model == TWO_TOWER:
        if config.settings or config.preset:
            raise ConfigError(
                "retrieval.settings and retrieval.preset are of models other than two_tower, whose settings are "
                "retrieval.embedding_dim, retrieval.epochs and so on; set those, or choose another retrieval.model"
            )
        if config.content_vectors:
            raise ConfigError(
                "retrieval.content_vectors is of models other than two_tower, whose item tower reads content as it is; "
                "leave it out, or choose another retrieval.model"
            )
        return None
    if config.item_vectors is not None:
        raise ConfigError(
            f"retrieval.item_vectors is of two_tower, and model {config.model!r} reads histories alone; leave it out, "
            "or train two_tower"
        )
    kind = configured_class(config.model) if outside else retriever_class(config.model)
    model = kind(retriever_settings(config.model, config.preset, config.settings, kind=kind))
    if not model.card.served:
        raise TrainingError(
            f"model {config.model!r} is for comparison alone and cannot be served; choose one that `tandem models` "
            "shows as served"
        )
    return model


def _outside_code(config: RetrievalConfig, chosen: Retriever | None) -> dict[str, str]:
    """Return a digest of the file of a model outside the catalogue: changed code is another version."""
    if chosen is None or ":" not in config.model:
        return {}
    file = inspect.getsourcefile(type(chosen))
    return {"model_code": file_digest(Path(file))} if file else {}


def _without_place(config: RetrievalConfig) -> dict[str, Any]:
    """Return the configuration with the content of the item vectors instead of where they are."""
    values = config.model_dump()
    file = values.pop("item_vectors")
    return values if file is None or not file.is_file() else values | {"item_vectors": file_digest(file)}


def _params(config: RetrievalConfig, chosen: Retriever | None) -> dict[str, Any]:
    """Return what a model was trained with: of all settings those that it reads."""
    if chosen is None:
        own = config.model_dump(exclude={"preset", "settings", "segment", "content_vectors"})
        return {f"retrieval.{name}": value for name, value in own.items()}
    shared = config.model_dump(
        include={"model", "preset", "segment", "num_oov_buckets", "content_vectors", "min_positive_value"}
    )
    settings = {f"settings.{name}": value for name, value in chosen.settings.model_dump().items()}
    return {f"retrieval.{name}": value for name, value in {**shared, **settings}.items()}


def _run_params(run: TrainingConfig) -> dict[str, Any]:
    return {f"training.{name}": value for name, value in run.model_dump().items()}


def train_into(
    folder: Path,
    training_set: TrainingSet,
    config: RetrievalConfig,
    options: RunOptions,
    *,
    run: TrainingConfig = DEFAULT_TRAINING,
    served: bool = True,
    model: Retriever | None = None,
) -> None:
    """Train on the training window, measure on the validation window; write `run.json`, `plots/` and `bundle/`.

    Args:
        folder: gets the files.
        training_set: labels with features; its test part is not read.
        config: the model and how to train it.
        options: seed, checkpoints and who is told of epochs.
        run: devices, what stays on them, and precision of the two-tower model.
        served: whether to write `bundle/`, which serving loads; a trial of a search needs none.
        model: of the configuration, not trained; None takes it from the catalogue.

    Raises:
        TrainingError, ConfigError: see `train_retrieval`.
    """
    train, validation = (labels_of(training_set, split, config) for split in ("train", "validation"))
    encoders = fit_encoders(train, config)
    model = model or chosen_model(config)
    how: dict[str, Any] = {"config": config, "options": options, "served": served}
    if model is None:
        _train_two_tower(folder, training_set, train, validation, encoders, run=run, **how)
    else:
        _train_retriever(folder, training_set, train, validation, encoders, model, **how)


def _train_retriever(
    folder: Path,
    training_set: TrainingSet,
    train: RowFile,
    validation: RowFile,
    encoders: tuple[ItemEncoder, QueryEncoder],
    model: Retriever,
    *,
    config: RetrievalConfig,
    options: RunOptions,
    served: bool,
) -> None:
    """Train a model on the sequences of the training window, chosen by the recent items of the validation window."""
    item_encoder, query_encoder = encoders
    reader = LabelReader.of(query_encoder, config.segment)
    asked = validation.read()
    chosen_by = reader.validation(asked, num_rows=NUM_VALIDATION, seed=options.seed)
    known = train.read([name for name in SEQUENCE_COLUMNS if name in train.schema.names])
    fitted = model.fit(
        reader.training(known), options=options, validation=chosen_by if len(chosen_by.targets) else None
    )
    if served:
        bundle = folder / "bundle"
        width = write_retriever(bundle, model, reader, query_encoder, item_encoder, asked)
        if config.content_vectors:
            know_new_items_by_content(bundle, item_encoder, latest_items(train), seed=options.seed)
        manifest = _manifest(training_set, config, width=width, history_length=reader.history_length)
        (bundle / "bundle.json").write_text(json.dumps(manifest, indent=2))
    write_run(folder, fitted.fit, num_rows=known.num_rows, **fitted.figures, **validation_metrics(model, chosen_by))


def _train_two_tower(
    folder: Path,
    training_set: TrainingSet,
    train: RowFile,
    validation: RowFile,
    encoders: tuple[ItemEncoder, QueryEncoder],
    *,
    config: RetrievalConfig,
    options: RunOptions,
    run: TrainingConfig,
    served: bool,
) -> None:
    """Train the two-tower model on the features of the labels."""
    item_encoder, query_encoder = encoders
    supplied, vectors = None, None
    if config.item_vectors is not None:
        supplied = SuppliedVectors.read(
            config.item_vectors, config.vector_column, trained_on=item_encoder.vocabularies["item"].values
        )
        item_encoder.vector_ids, vectors = supplied.item_ids, supplied.table
    data = encode(
        train, validation, item_encoder, query_encoder,
        seed=options.seed, resident_mb=run.resident_mb, scratch=folder,
    )  # fmt: skip
    data = replace(data, vectors=vectors)
    sizes = {name: v.size for name, v in {**query_encoder.vocabularies, **item_encoder.vocabularies}.items()}
    model, fit = train_two_tower(
        data,
        query_shapes=query_encoder.shapes,
        item_shapes=item_encoder.shapes,
        sizes=sizes,
        config=config,
        seed=options.seed,
        checkpoints=options.checkpoints,
        run=run,
        after_epoch=options.after_epoch,
    )
    if served:
        bundle = folder / "bundle"
        query_encoder.save(bundle / "query_inputs")
        item_encoder.save(bundle / "item_inputs")
        if supplied is not None:
            supplied.save_moments(bundle)
        export_towers(model, bundle, data)
        length = query_encoder.widths["history"]
        manifest = _manifest(training_set, config, width=config.embedding_dim, history_length=length)
        (bundle / "bundle.json").write_text(json.dumps(manifest, indent=2))
    write_run(folder, fit, num_parameters=model.count_params(), num_rows=len(data.items["item"]))


def _manifest(training_set: TrainingSet, config: RetrievalConfig, *, width: int, history_length: int) -> dict[str, Any]:
    return {
        "kind": "retrieval",
        "model": config.model,
        "dataset": training_set.features.snapshot.dataset,
        "feature_service": FEATURE_SERVICE,
        "features": feature_types(training_set, (*QUERY_FEATURES, *ITEM_FEATURES)),
        "embedding_dim": width,
        "history_length": history_length,
        "fitted_until": training_set.validation_start.isoformat(),
        "training_set": training_set.fingerprint,
    }


def write_run(folder: Path, fit: Fit, **metrics: float) -> None:
    """Write `run.json` with metrics and curves, and `plots/`."""
    from pipelines.models.plots import learning_curve

    (folder / "plots").mkdir()
    values = dict(metrics)
    if fit.curves:
        learning_curve(folder / "plots" / "learning_curve.png", fit.curves)
        values |= {**fit.at_best(), "best_epoch": fit.best_epoch}
    (folder / RUN_FILE).write_text(json.dumps({"metrics": values, "curves": fit.curves}, indent=2))
