"""Train the ranking model on a ranking set and register it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.config import DEFAULT_TRAINING, RankingConfig, TrainingConfig
from pipelines.contracts import RANKING_MODEL, ModelVersion, RankingSet
from pipelines.inputs.item_encoder import ITEM_FEATURES, QUALITY
from pipelines.inputs.query_encoder import QUERY_FEATURES, QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.inputs.row_file import RowFile
from pipelines.models.pairs import PairData
from pipelines.models.rankers.base import Ranker
from pipelines.models.rankers.catalogue import chosen_ranker
from pipelines.models.ranking import EVIDENCE, TrainedRanker, export_ranker, train_ranker
from pipelines.models.vectors import embed_items, narrowed
from pipelines.steps.build_ranking_set import PAIRS_FILE, QUERIES_FILE
from pipelines.steps.retrieval_labels import feature_types, latest_items
from pipelines.steps.train_retrieval import lineage
from pipelines.steps.training_run import RUN_FILE, found_version, publish_training
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry, RunRecord
from pipelines.stores.revision import code_digest

MAX_VECTOR_WIDTH = 64  # of what the ranker knows of an item from retrieval; wider vectors are projected
READ = (*QUERY_FEATURES, *ITEM_FEATURES, *QUALITY, "taste_match")


def train_ranking(
    ranking_set: RankingSet,
    *,
    config: RankingConfig,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    seed: int,
    checkpoints: Path | None = None,
    run: TrainingConfig = DEFAULT_TRAINING,
) -> ModelVersion:
    """Train, calibrate and register the ranking model; equal arguments give the version that is there already.

    The bundle holds `ranker.onnx` (inputs as the encoder says it; outputs `probability`, calibrated, and
    `expected_value`, both float32 `[num_pairs]`), its encoder, the Keras model and `bundle.json`, whose
    `use_for_ordering` says whether its network orders validation candidates better than retrieval's score and
    popularity do without. The run's page has its cost beside its metrics.

    Args:
        ranking_set: pairs with the features of `ranking_v1`.
        config: the model and how to train it.
        registry: gets the version, and has the retrieval version whose query encoder is shared.
        artifacts: where the bundle is written before it is registered.
        seed: decides initial weights, order of rows and dropout.
        checkpoints: folder in which a killed training leaves what the next call with equal arguments goes on from; None
            starts anew.
        run: devices and precision.

    Raises:
        ConfigError: no ranking model or loss has the name, a setting is not the model's, or there are fewer devices.
        TrainingError: there are too few positive pairs, they lack what the loss needs, or training diverged.
    """
    chosen, _ = chosen_ranker(config)
    key = content_key(
        ranking_set=ranking_set.fingerprint,
        retrieval=ranking_set.retrieval.digest,
        config=config.model_dump(),
        seed=seed,
        precision=run.precision,
        code=code_digest("inputs", "models", "steps/train_ranking.py", "steps/retrieval_labels.py"),
    )
    found = found_version(registry, RANKING_MODEL, key=key, run=run)
    if found is not None:
        return found
    retrieval = registry.download(ranking_set.retrieval)
    dataset = ranking_set.training_set.features.snapshot.dataset
    folder = publish_training(
        f"{dataset}/train_ranking",
        lambda folder, kept: _train(
            folder, ranking_set, retrieval, config=config, seed=seed, checkpoints=kept, run=run
        ),
        key=key,
        artifacts=artifacts,
        checkpoints=checkpoints,
    )
    report = json.loads((folder / RUN_FILE).read_text())
    tags = lineage(ranking_set.training_set, ranking_set.feature_service)
    record = RunRecord(
        name=f"ranking-{key[:8]}",
        params={**_params(config, chosen), "training.precision": run.precision, "seed": seed},
        metrics=report["metrics"],
        curves=report["curves"],
        tags={
            **tags,
            "tandem.ranking_set": ranking_set.fingerprint,
            "tandem.retrieval_version": ranking_set.retrieval.version,
            "tandem.ranker": config.model,
            "tandem.ranking_loss": config.loss,
        },
        artifacts={folder / "plots": "plots"},
    )
    return registry.register(
        RANKING_MODEL, folder / "bundle", key=key, dataset=dataset, record=record, onnx="ranker.onnx"
    )


def _params(config: RankingConfig, chosen: Ranker) -> dict[str, Any]:
    """Return what the model was trained with, its own settings with their defaults."""
    own = {f"settings.{name}": value for name, value in chosen.settings.model_dump().items()}
    shared = config.model_dump(exclude={"settings"})
    return {f"ranking.{name}": value for name, value in {**shared, **own}.items()}


def _train(
    folder: Path,
    ranking_set: RankingSet,
    retrieval: Path,
    *,
    config: RankingConfig,
    seed: int,
    checkpoints: Path | None,
    run: TrainingConfig,
) -> None:
    """Write `bundle/`, `plots/` and `run.json`."""
    query_encoder = QueryEncoder.load(retrieval / "query_inputs")
    encoder = _fit_encoder(ranking_set, query_encoder, config)
    data = {split: _encode(ranking_set, split, encoder) for split in ("train", "validation")}
    vocabularies = {**encoder.query.vocabularies, **encoder.item.vocabularies}
    ranker = train_ranker(
        data["train"],
        data["validation"],
        shapes=encoder.shapes,
        sizes={name: vocabulary.size for name, vocabulary in vocabularies.items()},
        item_vectors=_item_vectors(ranking_set, retrieval, encoder, seed=seed),
        config=config,
        seed=seed,
        checkpoints=checkpoints,
        run=run,
    )
    bundle = folder / "bundle"
    encoder.save(bundle / "ranking_inputs")
    export_ranker(ranker.served, bundle, data["train"])
    (bundle / "bundle.json").write_text(json.dumps(_manifest(ranking_set, ranker, config), indent=2))
    _write_run(folder, ranker, num_rows=len(data["train"].label))


def _fit_encoder(ranking_set: RankingSet, query: QueryEncoder, config: RankingConfig) -> RankingEncoder:
    pairs = pq.read_table(Path(ranking_set.uri) / PAIRS_FILE.format(split="train"))
    return RankingEncoder.fit(
        pairs,
        query=query,
        items=RowFile(Path(ranking_set.training_set.uri) / "train.parquet"),
        num_oov_buckets=config.num_oov_buckets,
        max_text_tokens=config.max_text_tokens,
    )


def _item_vectors(
    ranking_set: RankingSet, retrieval: Path, encoder: RankingEncoder, *, seed: int
) -> NDArray[np.float32]:
    """Return the retrieval model's vector of each id of the vocabulary, zeros for ids of no item."""
    items = latest_items(RowFile(Path(ranking_set.training_set.uri) / "train.parquet"))
    embedded = narrowed(embed_items(retrieval, items), MAX_VECTOR_WIDTH, seed=seed)
    vectors = np.zeros((encoder.item.vocabularies["item"].size, embedded.shape[1]), dtype=np.float32)
    vectors[encoder.item.encode(items)["item"]] = embedded
    return vectors


def _encode(ranking_set: RankingSet, split: str, encoder: RankingEncoder) -> PairData:
    folder = Path(ranking_set.uri)
    queries = pq.read_table(folder / QUERIES_FILE.format(split=split))
    pairs = pq.read_table(folder / PAIRS_FILE.format(split=split))
    return PairData(
        # The user's id stays out of the ranker: what it knows of a user is in the features and in retrieval's score.
        queries={name: values for name, values in encoder.query.encode(queries).items() if name != "user"},
        items=encoder.item.encode(pairs),
        pair_numbers=encoder.pair_numbers.encode(pairs),
        query_rows=pairs["query_id"].to_numpy(),
        item_rows=np.arange(pairs.num_rows),
        label=pairs["label"].to_numpy(),
        weight=pairs["weight"].to_numpy(),
        value=np.asarray(pc.fill_null(pairs["value"], np.nan), dtype=np.float32),
    )


def _manifest(ranking_set: RankingSet, ranker: TrainedRanker, config: RankingConfig) -> dict[str, Any]:
    return {
        "kind": "ranking",
        "model": config.model,
        "loss": config.loss,
        "dataset": ranking_set.training_set.features.snapshot.dataset,
        "feature_service": ranking_set.feature_service,
        "features": feature_types(ranking_set.training_set, READ),
        "outputs": {"probability": "calibrated, of an interaction", "expected_value": "of the event, if there is one"},
        "calibration": {
            "kind": "logistic",
            "in_graph": True,
            **{name: ranker.metrics[f"calibration_{name}"] for name in (*EVIDENCE, "shift")},
        },
        "use_for_ordering": ranker.use_for_ordering,
        "retrieval": {"version": ranking_set.retrieval.version, "digest": ranking_set.retrieval.digest},
        "training_set": ranking_set.training_set.fingerprint,
        "ranking_set": ranking_set.fingerprint,
    }


def _write_run(folder: Path, ranker: TrainedRanker, *, num_rows: int) -> None:
    from pipelines.models.plots import learning_curve, reliability

    (folder / "plots").mkdir()
    learning_curve(folder / "plots" / "learning_curve.png", ranker.fit.curves)
    reliability(folder / "plots" / "reliability.png", ranker.reliability)
    metrics = {**ranker.fit.at_best(), **ranker.metrics, "best_epoch": ranker.fit.best_epoch, "num_rows": num_rows}
    metrics["use_for_ordering"] = float(ranker.use_for_ordering)
    report = {"metrics": metrics, "curves": ranker.fit.curves}
    (folder / RUN_FILE).write_text(json.dumps(report, indent=2))
