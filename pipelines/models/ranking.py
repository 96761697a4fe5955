"""Train the ranking model on encoded pairs, calibrate it, and decide whether it should order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from pipelines.models.batches import Arrays, Batch
from pipelines.models.checkpoints import arrays_digest
from pipelines.models.training import Fit, drawn_batches, fit_epochs, predict, prepare_keras

WATCH = "validation_ndcg_at_10"
WATCH_RETRIEVAL = "validation_retrieval_ndcg_at_10"
FEWEST_POSITIVES = 10
EXAMPLE_ROWS = 4
CHECKPOINT_BATCHES = 500


@dataclass(frozen=True)
class PairData:
    """Encoded pairs of a split: each side once, and which rows make a pair.

    Attributes:
        queries: query inputs, `[num_queries, ...]`.
        items: item inputs, `[num_item_rows, ...]`.
        pair_numbers: `[num_pairs, num_pair_numbers]`.
        query_rows: row in `queries` of each pair, `[num_pairs]`.
        item_rows: row in `items` of each pair, `[num_pairs]`.
        label: 1 where the user went on to use the item, float32 `[num_pairs]`.
        weight: how many pairs a sampled one stands for, float32 `[num_pairs]`.
        value: the event's value, NaN where there is none, float32 `[num_pairs]`.
    """

    queries: Arrays
    items: Arrays
    pair_numbers: NDArray[np.float32]
    query_rows: NDArray[np.int64]
    item_rows: NDArray[np.int64]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]
    value: NDArray[np.float32]

    @property
    def retrieval_score(self) -> NDArray[np.float32]:
        """Retrieval's score of each pair, standardized, `[num_pairs]`."""
        return self.pair_numbers[:, 0]

    def inputs(self, rows: Any) -> Arrays:
        """Return the model inputs of some pairs."""
        gathered = {name: values[self.query_rows[rows]] for name, values in self.queries.items()}
        gathered |= {name: values[self.item_rows[rows]] for name, values in self.items.items()}
        return {**gathered, "pair_numbers": self.pair_numbers[rows]}

    def digest(self) -> str:
        """Return a digest of all of it."""
        sides = [side[name] for side in (self.queries, self.items) for name in sorted(side)]
        rows: list[NDArray[Any]] = [
            self.pair_numbers,
            self.query_rows,
            self.item_rows,
            self.label,
            self.weight,
            self.value,
        ]
        return arrays_digest([*sides, *rows])


@dataclass(frozen=True)
class TrainedRanker:
    """A trained, calibrated ranker.

    Attributes:
        served: Keras model with outputs `probability` and `expected_value`.
        fit: how training went.
        metrics: measured on validation pairs.
        use_for_ordering: whether the network orders validation candidates better together with retrieval's score than
            that score alone, by more than one standard error over queries. If not, its weight is 0: the probability
            is retrieval's score, calibrated, and ordering by it is retrieval's order.
    """

    served: Any
    fit: Fit
    metrics: dict[str, float]
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
) -> TrainedRanker:
    """Train on `train`; stop, calibrate and judge on `validation`.

    Killed anywhere and called again with equal arguments, it goes on from its last checkpoint and returns the same.

    Args:
        train: pairs to learn from.
        validation: pairs of whole lists.
        shapes: of the ranking encoder.
        sizes: vocabulary name -> number of ids.
        item_vectors: what retrieval knows of each item id, `[sizes["item"], vector_dim]`.
        config: the model and how to train it.
        seed: decides initial weights, order of rows and dropout.
        checkpoints: folder for checkpoints; None keeps none.

    Raises:
        TrainingError: there are too few positive pairs, the loss is not finite, or the folder holds the checkpoint of
            another run.
    """
    num_positive = int(train.label.sum())
    if num_positive < FEWEST_POSITIVES:
        raise TrainingError(
            f"{num_positive} of {len(train.label)} training pairs are positive; expected at least {FEWEST_POSITIVES}. "
            "Raise ranking.num_queries, or train retrieval longer"
        )
    prepare_keras(seed)
    from pipelines.models.ranker import build_ranker

    prepare_keras(seed)  # once more: keras_rs, imported with it, draws random numbers the first time
    architecture = config.model_dump(
        include={"embedding_dim", "num_cross_layers", "hidden_units", "item_dropout", "dropout", "num_oov_buckets"}
    )
    trained, served = build_ranker(dict(shapes), dict(sizes), item_vectors, seed=seed, **architecture)
    center, spread = _value_scale(train)
    _start_at(trained, train)
    num_steps = config.epochs * max(1, len(train.label) // config.batch_size)
    _compile(trained, config, num_steps=num_steps)
    fit = fit_epochs(
        trained,
        drawn_batches(
            lambda rng: _batches(train, batch_size=config.batch_size, rng=rng, center=center, spread=spread),
            count=max(1, len(train.label) // config.batch_size),
            seed=seed,
        ),
        epochs=config.epochs,
        patience=config.patience,
        validate=lambda: _judge(_outputs(trained, validation), validation),
        watch=WATCH,
        of=_describe(train, validation, sizes, item_vectors, config, seed) if checkpoints else "",
        checkpoints=checkpoints,
        checkpoint_batches=CHECKPOINT_BATCHES,
    )
    outputs = _outputs(trained, validation)
    metrics = _judge(outputs, validation)
    useful = metrics["validation_gain"] > metrics["validation_gain_error"]
    evidence = _evidence(outputs, validation) * [useful, True]  # of no use: retrieval's score alone, calibrated
    scales, shift = fit_logistic(evidence, validation.label, validation.weight)
    served.get_layer("calibration").set_weights([scales.astype(np.float32), np.array([shift], np.float32)])
    _unscale(trained, center, spread)
    fitted = {"calibration_network": scales[0], "calibration_retrieval": scales[1], "calibration_shift": shift}
    return TrainedRanker(served, fit, {**metrics, **fitted}, useful)


def export_ranker(model: Any, folder: Path, data: PairData) -> None:
    """Write `ranker.onnx`, `model.keras` and an `input_example.npz` into `folder`."""
    from pipelines.models.export import export_onnx

    example = data.inputs(np.arange(min(EXAMPLE_ROWS, len(data.label))))
    export_onnx(model, folder / "ranker.onnx", example)
    model.save(folder / "model.keras")
    names = {tensor.name for tensor in model.inputs}
    first: dict[str, Any] = {name: values[:1] for name, values in example.items() if name in names}
    np.savez(folder / "input_example.npz", **first)


def list_ndcg(scores: NDArray[Any], data: PairData, k: int = 10) -> NDArray[np.float64]:
    """Return the nDCG of ordering each query's candidates by `scores`, `[num_queries with a positive]`.

    Ties are counted worst case. Queries are in order of `query_rows`.
    """
    order = np.lexsort((data.label, -scores, data.query_rows))
    query = data.query_rows[order]
    starts = np.flatnonzero(np.r_[True, np.diff(query) != 0])
    lengths = np.diff(np.r_[starts, len(query)])
    rank = np.arange(len(query)) - np.repeat(starts, lengths)
    gain = data.label[order] * np.where(rank < k, 1 / np.log2(rank + 2), 0.0)
    gained = np.add.reduceat(gain, starts)
    positives = np.add.reduceat(data.label[order], starts).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])[np.minimum(positives, k)]
    answered = positives > 0
    return np.asarray(gained[answered] / ideal[answered], dtype=np.float64)


def fit_logistic(
    evidence: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[np.float64], float]:
    """Return weights `[num_evidence]` and shift that make their sum the log odds, by weighted maximum likelihood.

    Newton's method with a little weight decay, which also settles the case of a single class. Evidence is not let
    speak against itself: a weight is at least 0.
    """
    x = np.concatenate([evidence.astype(np.float64), np.ones((len(labels), 1))], axis=1)
    parameters, decay = np.zeros(x.shape[1]), 1e-3
    free = np.ones(len(parameters), dtype=bool)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(x @ parameters, -30, 30)))
        gradient = x.T @ (weights * (probability - labels)) + decay * parameters
        curvature = (x * (weights * probability * (1 - probability))[:, None]).T @ x + decay * np.eye(len(parameters))
        step = np.zeros_like(parameters)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        parameters = parameters - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            negative = np.append(parameters[:-1] < 0, False)
            if not negative.any():
                break
            parameters[negative], free[negative] = 0.0, False
    return np.maximum(parameters[:-1], 0.0), float(parameters[-1])


def _batches(
    data: PairData, *, batch_size: int, rng: np.random.Generator, center: float, spread: float
) -> Iterator[Batch]:
    order = rng.permutation(len(data.label))
    size = min(batch_size, len(order))
    has_value = np.isfinite(data.value)
    value = np.where(has_value, (data.value - center) / spread, 0.0).astype(np.float32)
    value_weight = (has_value * data.label).astype(np.float32)
    mean_weight = float(data.weight.mean())
    for start in range(0, len(order) - size + 1, size):
        rows = np.sort(order[start : start + size])
        targets = {"logit": data.label[rows, None], "expected_value": value[rows, None]}
        weights = {"logit": data.weight[rows] / mean_weight, "expected_value": value_weight[rows]}
        yield Batch(data.inputs(rows), targets, weights)


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


def _value_scale(data: PairData) -> tuple[float, float]:
    """Return mean and spread of the positives' values; (0, 1) where there are none."""
    values = data.value[(data.label > 0) & np.isfinite(data.value)]
    if not len(values):
        return 0.0, 1.0
    return float(values.mean()), max(float(values.std()), 1e-3)


def _start_at(model: Any, data: PairData) -> None:
    """Set the logit's bias to the base rate: the first epochs need not learn it."""
    rate = float(np.average(data.label, weights=data.weight))
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel, np.full_like(bias, np.log(rate / max(1 - rate, 1e-6)))])


def _unscale(model: Any, center: float, spread: float) -> None:
    """Fold the values' mean and spread into the last layer, so that the graph speaks in the events' unit."""
    kernel, bias = model.get_layer("value").get_weights()
    model.get_layer("value").set_weights([kernel * spread, bias * spread + center])


def _outputs(model: Any, data: PairData) -> dict[str, NDArray[Any]]:
    outputs = [
        predict(model, data.inputs(np.arange(start, min(start + 65_536, len(data.label)))))
        for start in range(0, len(data.label), 65_536)
    ]
    return {name: np.concatenate([part[name] for part in outputs])[:, 0] for name in outputs[0]}


def _evidence(outputs: dict[str, NDArray[Any]], data: PairData) -> NDArray[np.float64]:
    """Return what the probability is made of, `[num_pairs, 2]`: the network's logit and retrieval's score."""
    return np.stack([outputs["logit"], data.retrieval_score], axis=1).astype(np.float64)


def _judge(outputs: dict[str, NDArray[Any]], data: PairData) -> dict[str, float]:
    """Return validation metrics of the calibrated ranker and of its parts."""
    evidence = _evidence(outputs, data)
    scales, shift = fit_logistic(evidence, data.label, data.weight)
    log_odds = evidence @ scales + shift
    probability = np.clip(1 / (1 + np.exp(-log_odds)), 1e-7, 1 - 1e-7)
    log_loss = -(data.label * np.log(probability) + (1 - data.label) * np.log(1 - probability))
    together, alone = list_ndcg(log_odds, data), list_ndcg(data.retrieval_score, data)
    gain = together - alone
    return {
        WATCH: _mean(together),
        WATCH_RETRIEVAL: _mean(alone),
        "validation_network_ndcg_at_10": _mean(list_ndcg(outputs["logit"], data)),
        "validation_gain": _mean(gain),
        "validation_gain_error": float(gain.std() / np.sqrt(len(gain))) if len(gain) else 0.0,
        "validation_log_loss": float(np.average(log_loss, weights=data.weight)),
        "validation_mean_probability": float(np.average(probability, weights=data.weight)),
        "validation_positive_rate": float(np.average(data.label, weights=data.weight)),
    }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _compile(model: Any, config: RankingConfig, *, num_steps: int) -> None:
    import keras

    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, num_steps, alpha=0.05)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss={"logit": keras.losses.BinaryCrossentropy(from_logits=True), "expected_value": keras.losses.Huber()},
        loss_weights={"logit": 1.0, "expected_value": config.value_weight},
        jit_compile=False,
    )
