"""Train a two-tower model on encoded labels and export its towers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.config import DEFAULT_TRAINING, RetrievalConfig, TrainingConfig
from pipelines.models.batches import EarlierStates, Labels, RetrievalSteps
from pipelines.models.checkpoints import arrays_digest
from pipelines.models.devices import on_devices, require_even
from pipelines.models.encoded_rows import Arrays
from pipelines.models.frequencies import StreamedFrequencies
from pipelines.models.negatives import Negatives, OwnItems
from pipelines.models.periods import Periods
from pipelines.models.retrievers.base import ModelCard
from pipelines.models.training import AfterEpoch, Fit, fit_epochs, predict, prepare_keras

WATCH = "validation_recall_at_50"
EXAMPLE_ROWS = 4
FULL = "float32"
CHECKPOINT_BATCHES = 500
CELLS_AN_ITEM = 8  # of each hash of a streamed frequency: one or two items in a hundred share both their cells
DIGEST_ROWS = 65_536  # read at a time
STEPS_PER_EXECUTION = 16  # without coming back to Python


class TwoTowerModel:
    """The entry of the catalogue: it learns from all features of a training set, so it is no `Retriever`."""

    card = ModelCard(
        name="two_tower",
        family="deep",
        needs="features of users, items and context: ids, history, taste, attributes, text, activity",
        good_at="the default: new users and new items, large corpora, frequent releases",
        source="Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item recommendations",
    )
    Settings = RetrievalConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    objective: ClassVar[str] = WATCH
    space: ClassVar[dict[str, Any]] = {
        "embedding_dim": [32, 64, 128],
        "hidden_units": [[64], [128], [256, 128]],
        "temperature": "log:0.03..0.2",
        "learning_rate": "log:0.0005..0.01",
        "dropout": "0.0..0.4",
        "user_dropout": "0.0..0.6",
    }


@dataclass(frozen=True)
class RetrievalData:
    """Encoded labels.

    Attributes:
        queries: query inputs of the training labels, in order of time, `[num_rows, ...]`; like the item inputs they
            may lie in a file that memory maps.
        items: item inputs of the training labels, `[num_rows, ...]`.
        validation_queries: query inputs of validation labels, `[num_validation, ...]`.
        validation_rows: row of each validation label's item in `corpus`, `[num_validation]`; without any the last
            epoch is kept.
        corpus: item inputs of the corpus as of the validation cut, `[num_items, ...]`.
        vectors: table of supplied item vectors that the input `vector` points into; None for none.
    """

    queries: Arrays
    items: Arrays
    validation_queries: Arrays
    validation_rows: NDArray[np.int64]
    corpus: Arrays
    vectors: NDArray[np.float32] | None = None

    def digest(self) -> str:
        """Return a digest of all of it."""
        supplied = [] if self.vectors is None else [self.vectors]
        sides = (self.queries, self.items, self.validation_queries, self.corpus)
        encoded = chain.from_iterable(_stretches(side) for side in sides)
        return arrays_digest(chain(encoded, [self.validation_rows, *supplied]))


def train_two_tower(
    data: RetrievalData,
    *,
    query_shapes: Mapping[str, Any],
    item_shapes: Mapping[str, Any],
    sizes: Mapping[str, int],
    config: RetrievalConfig,
    seed: int,
    checkpoints: Path | None = None,
    run: TrainingConfig = DEFAULT_TRAINING,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Any, Fit]:
    """Return the trained TwoTower and how training went.

    Killed anywhere and called again with equal arguments, it goes on from its last checkpoint and returns the same.

    Args:
        data: encoded labels.
        query_shapes: of the query encoder.
        item_shapes: of the item encoder.
        sizes: vocabulary name -> number of ids.
        config: the model and how to train it.
        seed: decides initial weights, order of rows and dropout; equal seeds give equal models on one device.
        checkpoints: folder for checkpoints; None keeps none.
        run: devices, what stays on them, and precision; what is returned is in float32. The negatives of several
            devices are the whole batch's, so their number changes results by rounding alone, and a checkpoint of one
            number is resumed on another.
        after_epoch: told after each epoch how training went so far; what it raises ends the training.

    Raises:
        ConfigError: there are fewer devices, or a batch does not divide among them.
        TrainingError: the loss is not finite, or the folder holds the checkpoint of another run.
    """
    prepare_keras(seed)
    require_even(min(config.batch_size, len(data.items["item"])), run.num_devices)
    shapes = {"query_shapes": dict(query_shapes), "item_shapes": dict(item_shapes), "sizes": dict(sizes)}
    with on_devices(run.device, run.num_devices):
        model, fit = _train(data, shapes, config, seed, checkpoints, run, after_epoch)
    if run.num_devices > 1 or run.precision != FULL:  # from here on one copy is enough, and ONNX has float32 alone
        weights, model = model.get_weights(), type(model).from_config({**model.get_config(), "precision": FULL})
        model.set_weights(weights)
    return model, fit


def _train(
    data: RetrievalData,
    shapes: dict[str, Any],
    config: RetrievalConfig,
    seed: int,
    checkpoints: Path | None,
    run: TrainingConfig,
    after_epoch: AfterEpoch | None,
) -> tuple[Any, Fit]:
    vectors = None if data.vectors is None else (data.vectors.shape[0], data.vectors.shape[1])
    model = build_two_tower(**shapes, config=config, seed=seed, vectors=vectors, precision=run.precision)
    if data.vectors is not None:
        model.vectors.set_weights([data.vectors])
    model.build(None)  # its towers are
    num_rows = len(data.items["item"])
    epochs = max(1, min(config.epochs, config.max_examples // num_rows))
    _compile(model, config, num_steps=epochs * max(1, num_rows // config.batch_size), precision=run.precision)
    cells = CELLS_AN_ITEM * shapes["sizes"]["item"]
    stream = StreamedFrequencies(cells, config.frequency_rate) if config.log_q == "stream" else None
    steps = epoch_steps(data, config, stream, seed=seed, resident_mb=run.resident_mb)
    fit = fit_epochs(
        model,
        steps.of,
        epochs=epochs,
        patience=config.patience,
        validate=(lambda: validation_metrics(model, data)) if len(data.validation_rows) else None,
        watch=WATCH,
        of=f"two_tower {config.model_dump_json()} {shapes['sizes']} {seed} {data.digest()}" if checkpoints else "",
        checkpoints=checkpoints,
        checkpoint_batches=CHECKPOINT_BATCHES,
        state=stream.state if stream else None,
        resident=None if steps.filled else steps.labels,
        after_epoch=after_epoch,
    )
    return model, fit


def build_two_tower(
    query_shapes: Mapping[str, Any],
    item_shapes: Mapping[str, Any],
    sizes: Mapping[str, int],
    *,
    config: RetrievalConfig,
    seed: int,
    vectors: tuple[int, int] | None = None,
    precision: str = FULL,
) -> Any:
    """Return a TwoTower that has learnt nothing; see `train_two_tower`."""
    from pipelines.models.two_tower import TwoTower

    own = {
        "embedding_dim", "hidden_units", "feature_dim", "temperature", "dropout", "user_dropout", "item_dropout",
        "num_oov_buckets", "num_hard_negatives", "num_sampled_negatives", "scene_units",
    }  # fmt: skip
    settings = config.model_dump(include=own) | {"vectors": vectors, "seed": seed, "precision": precision}
    return TwoTower(dict(query_shapes), dict(item_shapes), dict(sizes), **settings)


def epoch_steps(
    data: RetrievalData,
    config: RetrievalConfig,
    stream: StreamedFrequencies | None,
    *,
    seed: int,
    resident_mb: int,
) -> RetrievalSteps:
    """Return the steps of any epoch; labels of up to `resident_mb` lie on the device, and steps name their rows."""
    # Looked up all over, unlike what may lie in a file beside them.
    users, items = np.ascontiguousarray(data.queries["user"]), np.ascontiguousarray(data.items["item"])
    periods = Periods.of(items, num_periods=config.num_periods, batch_size=config.batch_size)
    states = EarlierStates.of(users, share=config.earlier_share, longest=config.earlier_longest)
    negatives = Negatives.of(items, periods, num_sampled=config.num_sampled_negatives, stream=stream)
    labels = Labels.of(data.queries, data.items)
    fits = sum(values.nbytes for values in labels.arrays.values()) <= resident_mb * 2**20
    used = OwnItems(users, items) if config.num_hard_negatives else None
    return RetrievalSteps(labels, states, negatives, config.batch_size, seed, filled=not fits, used=used)


def _stretches(side: Arrays) -> Iterator[NDArray[Any]]:
    """Yield the inputs of some rows, then of the next: rows that lie in a file are read once."""
    for start in range(0, len(next(iter(side.values()))), DIGEST_ROWS):
        yield from (side[name][start : start + DIGEST_ROWS] for name in sorted(side))


def validation_metrics(model: Any, data: RetrievalData) -> dict[str, float]:
    """Return recall and nDCG of the next item among the whole corpus, ties counted worst case."""
    queries, items = predict(model.query_tower, data.validation_queries), predict(model.item_tower, data.corpus)
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), 1_024):
        part = slice(start, start + 1_024)
        scores = queries[part] @ items.T
        own = np.take_along_axis(scores, data.validation_rows[part, None], axis=1)
        ranks[part] = (scores >= own).sum(axis=1)
    gain = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    return {WATCH: float((ranks <= 50).mean()), "validation_ndcg_at_10": float(gain.mean())}


def export_towers(model: Any, folder: Path, data: RetrievalData) -> None:
    """Write `query_tower.onnx`, `item_tower.onnx`, `model.keras` and an `input_example.npz` into `folder`."""
    from pipelines.models.export import export_onnx

    example: dict[str, Any] = {name: values[:EXAMPLE_ROWS] for name, values in data.queries.items()}
    export_onnx(model.query_tower, folder / "query_tower.onnx", example)
    export_onnx(model.item_tower, folder / "item_tower.onnx", {n: v[:EXAMPLE_ROWS] for n, v in data.items.items()})
    model.save(folder / "model.keras")
    np.savez(folder / "input_example.npz", **{name: values[:1] for name, values in example.items()})


def _compile(model: Any, config: RetrievalConfig, *, num_steps: int, precision: str) -> None:
    import keras

    from pipelines.models.fused_adam import fused_adam

    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, num_steps, alpha=0.05)
    # XLA compiles for tens of seconds on a CPU and gains nothing there.
    model.compile(optimizer=fused_adam(rate, precision), steps_per_execution=STEPS_PER_EXECUTION, jit_compile=False)
