"""Train the ranking model on encoded pairs, calibrate it, and decide whether it should order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import DEFAULT_TRAINING, RankingConfig, TrainingConfig
from pipelines.errors import ConfigError, TrainingError
from pipelines.inputs.item_encoder import POPULARITY
from pipelines.models.batches import Batch
from pipelines.models.calibration import Doubles, Reliability, fit_logistic, fit_order
from pipelines.models.checkpoints import arrays_digest
from pipelines.models.devices import on_devices, require_even
from pipelines.models.pairs import PairData, Targets, list_batches, lists_a_batch, pair_batches, whole_lists
from pipelines.models.rankers.base import DenseLayers
from pipelines.models.rankers.catalogue import chosen_ranker
from pipelines.models.rankers.losses import RankingLoss
from pipelines.models.ranking_metrics import list_auc, list_ndcg, value_gain
from pipelines.models.training import Fit, drawn_batches, fit_epochs, predict, prepare_keras

WATCH = "validation_ndcg_at_10"
WATCH_RETRIEVAL = "validation_retrieval_ndcg_at_10"
FEWEST_POSITIVES = 10
EXAMPLE_ROWS = 4
CHECKPOINT_BATCHES = 500
EVIDENCE = ("network", "retrieval", *POPULARITY)  # what a probability is made of
LEAST_SLOPE = 1e-3  # of the probability's log odds in what orders: an order stays one however little it says
STEPS_PER_EXECUTION = 8  # without coming back to Python


@dataclass(frozen=True)
class TrainedRanker:
    """A trained, calibrated ranker.

    Attributes:
        served: Keras model with outputs `probability` and `expected_value`.
        fit: how training went.
        metrics: measured on validation pairs.
        reliability: of the probabilities, on validation pairs.
        use_for_ordering: whether retrieval's score and the items' popularity order validation candidates better with
            the network than without, by more than one standard error over queries. If not, the network's weight is 0.
    """

    served: Any
    fit: Fit
    metrics: dict[str, float]
    reliability: Reliability
    use_for_ordering: bool


def train_ranker(
    train: PairData,
    validation: PairData,
    *,
    shapes: Mapping[str, Any],
    sizes: Mapping[str, int],
    item_vectors: NDArray[np.float32],
    config: RankingConfig,
    seed: int,
    checkpoints: Path | None = None,
    run: TrainingConfig = DEFAULT_TRAINING,
) -> TrainedRanker:
    """Train on `train`; stop, calibrate and judge on `validation`.

    Killed anywhere and called again with equal arguments, it goes on from its last checkpoint and returns the same.

    Args:
        train: pairs to learn from.
        validation: pairs of whole lists.
        shapes: of the ranking encoder.
        sizes: vocabulary name -> number of ids.
        item_vectors: what retrieval knows of each item id, `[sizes["item"], vector_dim]`.
        config: the model, its loss and how to train it.
        seed: decides initial weights, order of rows and dropout.
        checkpoints: folder for checkpoints; None keeps none.
        run: devices and precision; what is returned is on one device and in float32. The number of devices changes
            results by rounding alone, and a checkpoint of one number is resumed on another.

    Raises:
        ConfigError: the model, its loss or one of its settings is unknown, there are fewer devices, or a batch does
            not divide among them.
        TrainingError: there are too few positive pairs, they lack what the loss needs, the loss is not finite, or the
            folder holds the checkpoint of another run.
    """
    body, loss = chosen_ranker(config)
    num_positive = int(train.label.sum())
    if num_positive < FEWEST_POSITIVES:
        raise TrainingError(
            f"{num_positive} of {len(train.label)} training pairs are positive; expected at least {FEWEST_POSITIVES}. "
            "Raise ranking.num_queries, or train retrieval longer"
        )
    targets = Targets.of(train, by_value=loss.by_value)
    feed = _Feed.of(train, targets, loss, config.batch_size)
    feed.require_even(run.num_devices)
    prepare_keras(seed)
    from pipelines.models.ranker import build_ranker

    def built(precision: str) -> tuple[Any, Any]:
        return build_ranker(
            dict(shapes),
            dict(sizes),
            item_vectors,
            body=body,
            dense=DenseLayers(config.hidden_units, config.dropout, seed, precision),
            seed=seed,
            **config.model_dump(include={"embedding_dim", "item_dropout", "num_oov_buckets"}),
        )

    prepare_keras(seed)  # once more: keras_rs, imported with it, draws random numbers the first time
    with on_devices(run.device, run.num_devices):
        trained, served = built(run.precision)
        _start_at(trained, targets.rate)
        num_steps = config.epochs * feed.num_steps
        _compile(trained, config, loss.build(feed.list_length), num_steps=num_steps, precision=run.precision)
        described = _describe(train, validation, sizes, item_vectors, config, seed) if checkpoints else ""
        fit = fit_epochs(
            trained,
            drawn_batches(feed.batches, count=feed.num_steps, seed=seed),
            epochs=config.epochs,
            patience=config.patience,
            validate=lambda: _judge(_outputs(trained, validation), validation)[0],
            watch=WATCH,
            of=f"{described} {run.precision}",
            checkpoints=checkpoints,
            checkpoint_batches=CHECKPOINT_BATCHES,
        )
    with on_devices(run.device):
        if run.num_devices > 1 or run.precision != "float32":  # one copy is served, and ONNX has float32 alone
            weights = trained.get_weights()
            trained, served = built("float32")
            trained.set_weights(weights)
        return _judged(trained, served, fit, validation, targets)


def _judged(trained: Any, served: Any, fit: Fit, validation: PairData, targets: Targets) -> TrainedRanker:
    """Judge a trained network, and fit how far it, retrieval's score and popularity are trusted."""
    outputs = _outputs(trained, validation)
    metrics, reliability = _judge(outputs, validation)
    useful = metrics["validation_gain"] > metrics["validation_gain_error"]
    scales, shift = _calibrated(_evidence(outputs, validation, with_network=useful), validation)
    served.get_layer("calibration").set_weights([scales.astype(np.float32), np.array([shift], np.float32)])
    _unscale(trained, targets)
    fitted = {f"calibration_{name}": float(scale) for name, scale in zip(EVIDENCE, scales, strict=True)}
    fitted["calibration_shift"] = shift
    return TrainedRanker(served, fit, {**metrics, **fitted}, reliability, useful)


def export_ranker(model: Any, folder: Path, data: PairData) -> None:
    """Write `ranker.onnx`, `model.keras` and an `input_example.npz` into `folder`."""
    from pipelines.models.export import export_onnx

    example = data.inputs(np.arange(min(EXAMPLE_ROWS, len(data.label))))
    export_onnx(model, folder / "ranker.onnx", example)
    model.save(folder / "model.keras")
    names = {tensor.name for tensor in model.inputs}
    first: dict[str, Any] = {name: values[:1] for name, values in example.items() if name in names}
    np.savez(folder / "input_example.npz", **first)


@dataclass(frozen=True)
class _Feed:
    """How a loss is fed: batches of pairs, or of whole lists.

    Attributes:
        batches: one epoch of batches, given a random generator of the epoch's own.
        num_steps: batches of an epoch.
        batch_size: rows of a batch.
        list_length: rows of a list; 0 where the loss takes pairs.
    """

    batches: Callable[[np.random.Generator], Iterator[Batch]]
    num_steps: int
    batch_size: int
    list_length: int = 0

    def require_even(self, num_devices: int) -> None:
        """Raise ConfigError unless a batch, in whole lists, divides evenly among the devices."""
        if self.list_length and self.batch_size % (num_devices * self.list_length):
            raise ConfigError(
                f"a batch has {self.batch_size // self.list_length} lists of {self.list_length}, which do not divide "
                f"among {num_devices} devices; expected a multiple of {num_devices} lists. Change ranking.batch_size"
            )
        require_even(self.batch_size, num_devices)

    @classmethod
    def of(cls, data: PairData, targets: Targets, loss: RankingLoss, batch_size: int) -> "_Feed":
        if not loss.of_lists:
            size = min(batch_size, len(data.label))
            return cls(lambda rng: pair_batches(data, targets, batch_size=size, rng=rng), len(data.label) // size, size)
        lists = whole_lists(data)
        num_lists, length = lists_a_batch(lists, batch_size), int(lists.shape[1])
        return cls(
            lambda rng: list_batches(data, targets, lists, batch_size=batch_size, rng=rng),
            len(lists) // num_lists,
            num_lists * length,
            length,
        )


def _describe(
    train: PairData,
    validation: PairData,
    sizes: Mapping[str, int],
    item_vectors: NDArray[np.float32],
    config: RankingConfig,
    seed: int,
) -> str:
    """Return what a checkpoint must belong to."""
    data = f"{train.digest()} {validation.digest()} {arrays_digest([item_vectors])}"
    return f"ranker {config.model_dump_json()} {dict(sizes)} {seed} {data}"


def _start_at(model: Any, rate: float) -> None:
    """Set the logit's bias to the base rate: the first epochs need not learn it."""
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel, np.full_like(bias, np.log(rate / max(1 - rate, 1e-6)))])


def _unscale(model: Any, targets: Targets) -> None:
    """Fold the values' mean and spread into the last layer, so that the graph speaks in the events' unit."""
    kernel, bias = model.get_layer("value").get_weights()
    model.get_layer("value").set_weights([kernel * targets.spread, bias * targets.spread + targets.center])


def _outputs(model: Any, data: PairData) -> dict[str, NDArray[Any]]:
    outputs = [
        predict(model, data.inputs(np.arange(start, min(start + 65_536, len(data.label)))))
        for start in range(0, len(data.label), 65_536)
    ]
    return {name: np.concatenate([part[name] for part in outputs])[:, 0] for name in outputs[0]}


def _evidence(outputs: dict[str, NDArray[Any]], data: PairData, *, with_network: bool) -> Doubles:
    """Return what the probability is made of, `[num_pairs, num_evidence]`, zeros for a network without a say."""
    parts = [outputs["logit"][:, None] * with_network, data.retrieval_score[:, None], data.popularity]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def _calibrated(evidence: Doubles, data: PairData) -> tuple[Doubles, float]:
    """Return weights `[num_evidence]` and shift of the log odds: what orders lists, brought to probabilities (Platt).

    Where no evidence orders the lists better than chance, retrieval's order stands.
    """
    weights = fit_order(evidence, data.label, data.query_rows)
    if not weights.any():
        weights[EVIDENCE.index("retrieval")] = 1.0
    (slope,), shift = fit_logistic(evidence @ weights[:, None], data.label, data.weight)
    if slope < LEAST_SLOPE:
        slope, base = LEAST_SLOPE, np.average(data.label, weights=data.weight)
        shift = float(np.log(base / (1 - base)) - slope * (evidence @ weights).mean()) if 0 < base < 1 else shift
    return weights * slope, shift


def _judge(outputs: dict[str, NDArray[Any]], data: PairData) -> tuple[dict[str, float], Reliability]:
    """Return validation metrics of the calibrated ranker and of its parts, and how reliable it is."""
    evidence, without = (_evidence(outputs, data, with_network=told) for told in (True, False))
    scales, shift = _calibrated(evidence, data)
    log_odds = evidence @ scales + shift
    probability = np.clip(1 / (1 + np.exp(-log_odds)), 1e-7, 1 - 1e-7)
    log_loss = -(data.label * np.log(probability) + (1 - data.label) * np.log(1 - probability))
    reliability = Reliability.of(probability, data.label, data.weight)
    together, alone = list_ndcg(log_odds, data), list_ndcg(data.retrieval_score, data)
    untold = list_ndcg(without @ _calibrated(without, data)[0], data)
    gain = together - untold
    metrics = {
        WATCH: _mean(together),
        WATCH_RETRIEVAL: _mean(alone),
        "validation_without_network_ndcg_at_10": _mean(untold),
        "validation_network_ndcg_at_10": _mean(list_ndcg(outputs["logit"], data)),
        "validation_gain": _mean(gain),
        "validation_gain_error": float(gain.std() / np.sqrt(len(gain))) if len(gain) else 0.0,
        "validation_auc": _mean(list_auc(log_odds, data)),
        "validation_retrieval_auc": _mean(list_auc(data.retrieval_score, data)),
        "validation_log_loss": float(np.average(log_loss, weights=data.weight)),
        "validation_calibration_error": reliability.error,
        "validation_mean_probability": float(np.average(probability, weights=data.weight)),
        "validation_positive_rate": float(np.average(data.label, weights=data.weight)),
    }
    if (value := value_gain(data)) is not None:
        metrics["validation_value_ndcg_at_10"] = _mean(list_ndcg(log_odds, data, gain=value))
    return metrics, reliability


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _compile(model: Any, config: RankingConfig, loss: Any, *, num_steps: int, precision: str) -> None:
    import keras

    from pipelines.models.fused_adam import fused_adam

    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, num_steps, alpha=0.05)
    model.compile(
        optimizer=fused_adam(rate, precision),
        loss={"logit": loss, "expected_value": keras.losses.Huber()},
        loss_weights={"logit": 1.0, "expected_value": config.value_weight},
        steps_per_execution=STEPS_PER_EXECUTION,
        jit_compile=False,
    )
