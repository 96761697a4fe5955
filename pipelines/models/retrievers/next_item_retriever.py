"""What all next-item models share: settings, fitting, scoring, keeping."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.config import Section
from pipelines.models.checkpoints import arrays_digest
from pipelines.models.devices import on_devices, require_even
from pipelines.models.export import export_onnx
from pipelines.models.metrics import hits, ndcg, recall, worst_case_top
from pipelines.models.next_item_training import Batches
from pipelines.models.packing import Steps, newest_windows, pack
from pipelines.models.retrievers.base import (
    Fitted,
    Floats,
    Retriever,
    RunOptions,
    Validation,
    require_interactions,
)
from pipelines.models.retrievers.files import read_learned, read_settings, write_model
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.renumbering import adapt_history
from pipelines.models.sequences import Sequences
from pipelines.models.training import fit_epochs, predict_batch, prepare_keras
from pipelines.models.vectors import QUERY_TOWER

WATCHED = "ndcg_at_10"
SCORE_ROWS = 512
# What the published protocols on MovieLens-1M were measured with: eleven minutes of one processor there.
QUALITY: dict[str, Any] = {
    "dim": 64,
    "length": 100,
    "loss": "sampled_softmax",
    "num_negatives": 512,
    "dropout": 0.2,
    "epochs": 28,
    "patience": 6,
}
# By number of interactions, for minutes on two cores; docs/models.md says what that is reckoned from.
SIZES: dict[str, dict[str, Any]] = {
    "small": {"length": 50, "loss": "softmax", "epochs": 20, "patience": 4},
    "medium": {"length": 100, "loss": "sampled_softmax", "num_negatives": 512, "epochs": 12, "patience": 3},
    # Rows enough a step that the optimizer's pass over a long table of items is a small part of it.
    "large": {
        "length": 50,
        "loss": "sampled_softmax",
        "num_negatives": 512,
        "batch_size": 128,
        "epochs": 2,
        "patience": 2,
    },
}


class NextItemSettings(Section):
    """Settings that every next-item model has; the defaults train in minutes on two cores."""

    dim: int = Field(64, ge=2, description="length of item embeddings and of the query vector")
    length: int = Field(100, ge=2, description="newest items of a history that are read")
    num_blocks: int = Field(2, ge=1, description="layers")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of units dropped while training")
    loss: Literal["softmax", "sampled_softmax", "gbce"] = Field(
        "softmax", description="over all items, over sampled ones, or gSASRec's binary cross-entropy"
    )
    num_negatives: int = Field(512, ge=1, description="negatives a batch, for the losses that sample")
    negatives: Literal["uniform", "popularity", "in_batch"] = Field(
        "uniform", description="what negatives are drawn by; gbce is defined for uniform ones"
    )
    calibration: float = Field(0.75, ge=0, le=1, description="gSASRec's t: 0 is plain binary cross-entropy")
    batch_size: int = Field(32, ge=1, description="rows a step, each of `length` positions")
    epochs: int = Field(20, ge=1, description="at most this many passes; the learning rate decays over them")
    patience: int = Field(4, ge=1, description="epochs without a better validation after which to stop")
    learning_rate: float = Field(1e-3, gt=0, description="highest rate, reached after the warm-up")
    warmup_steps: int = Field(200, ge=0, description="steps over which the rate grows from 0; at most a tenth of all")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on matrices alone")
    checkpoint_batches: int = Field(500, ge=1, description="steps between two checkpoints; one also follows each epoch")
    xla: bool = Field(True, description="compile by XLA, as JAX always does: slower to start, faster to run")
    steps_per_execution: int = Field(1, ge=1, description="steps the backend runs without coming back to Python")


def presets_with(**own: Any) -> dict[str, dict[str, Any]]:
    """Return `quality` and a preset a data size, each with settings of the model's own."""
    return {name: settings | own for name, settings in {"quality": QUALITY, **SIZES}.items()}


class NextItemRetriever(Retriever):
    """Learns to predict each next item of a history; the query vector is the state after the newest one."""

    Settings = NextItemSettings
    presets = SIZES
    objective = WATCHED
    space = {"dim": [32, 64, 128], "num_blocks": "1..3", "dropout": "0.0..0.5", "learning_rate": "log:0.0003..0.005"}

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.model: Any = None
        self.num_items = 0
        self.timed = False
        self.precision = "float32"

    @abstractmethod
    def body(self, *, seed: int, policy: Any) -> Any:
        """Return the Keras layer between item embeddings and states."""

    def uses_times(self, train: Sequences) -> bool:
        """Return whether the model learns from times of these rows."""
        del train
        return False

    @property
    def hidden_times(self) -> float:
        """Share of training windows whose times are kept from the model."""
        return 0.0

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Learn to predict every item of every row from those before it."""
        require_even(self.settings.batch_size, options.num_devices)
        with on_devices(options.device, options.num_devices):
            fitted = self._fit(train, options, validation)
        if options.num_devices > 1:  # from here on one copy is enough
            weights = self.model.get_weights()
            self.model = self._network(seed=options.seed, log_q=self._log_q(train))
            self.model.set_weights(weights)
        return fitted

    def _fit(self, train: Sequences, options: RunOptions, validation: Validation | None) -> Fitted:
        settings = self.settings
        network, batches = self.prepare(train, seed=options.seed, precision=options.precision)
        fit = fit_epochs(
            network, batches.steps_of, epochs=settings.epochs, patience=settings.patience, watch=WATCHED,
            validate=(lambda: self.measure(validation)) if validation and (validation.targets >= 0).any() else None,
            of=self._describe(train, options), checkpoints=options.checkpoints,
            checkpoint_batches=settings.checkpoint_batches, after_epoch=options.after_epoch,
        )  # fmt: skip
        return Fitted(fit, {"num_parameters": float(network.count_params())})

    def prepare(self, train: Sequences, *, seed: int, precision: str = "float32") -> tuple[Any, Batches]:
        """Return the compiled Keras model, not trained, and the batches to train it on."""
        require_interactions(train)
        prepare_keras(seed)
        self.num_items, self.timed, self.precision = train.num_items, self.uses_times(train), precision
        self.model = self._network(seed=seed, log_q=self._log_q(train))
        self._compile(-(-len(train.items) // (self.settings.length * self.settings.batch_size)))
        return self.model, self._batches(train, seed)

    def score(self, queries: Sequences) -> Floats:
        """Return the products of query vectors and item embeddings, float32 `[num_queries, num_items]`."""
        return self.encode(queries) @ self.item_vectors().T

    def encode(self, queries: Sequences) -> Floats:
        """Return the query vectors, float32 `[num_queries, dim]`."""
        settings = self.settings
        steps = Steps.asked_by(queries)
        packed = pack(*newest_windows(steps, settings.length), settings.length)
        vectors = np.zeros((len(queries), settings.dim), dtype=np.float32)
        row_of = np.searchsorted(steps.offsets, packed.steps, side="right") - 1
        asks = (packed.steps >= 0) & (packed.steps == steps.offsets[1:][row_of] - 1)
        for start in range(0, len(packed), settings.batch_size):
            rows = np.arange(start, min(start + settings.batch_size, len(packed)))
            arrays = steps.arrays(packed.rows(rows, size=settings.batch_size), timed=self.timed)
            states = np.asarray(predict_batch(self.model, arrays), dtype=np.float32)[: len(rows)]
            vectors[row_of[rows][asks[rows]]] = states[asks[rows]]
        return vectors

    def item_vectors(self) -> Floats:
        """Return the item embeddings, float32 `[num_items, dim]`."""
        return np.asarray(self.model.table.embeddings, dtype=np.float32)[1:]

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the query side as an ONNX graph of the history, and the item embeddings."""
        from pipelines.models.next_item_export import example_histories, query_tower

        folder.mkdir(parents=True, exist_ok=True)
        # One place more than the history, for "nothing yet" before it.
        width = min(self.settings.length, layout.history_length + 1)
        tower = query_tower(self.model, width=width, timed=self.timed)
        export_onnx(tower, folder / QUERY_TOWER, example_histories(self.num_items, width))
        adapt_history(folder / QUERY_TOWER, layout)
        save_item_vectors(folder, layout, self.item_vectors())

    def save(self, folder: Path) -> None:
        """Write settings and weights."""
        about = {"num_items": self.num_items, "timed": self.timed, "precision": self.precision}
        weights = {f"weight_{i:03d}": np.asarray(weight) for i, weight in enumerate(self.model.weights)}
        write_model(folder, self.settings, {name: np.array(value) for name, value in about.items()} | weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model, arrays = cls(read_settings(folder, cls.Settings)), read_learned(folder)
        model.num_items, model.timed = int(arrays["num_items"]), bool(arrays["timed"])
        model.precision = str(arrays["precision"])
        prepare_keras(0)
        model.model = model._network(seed=0, log_q=np.zeros(model.num_items, np.float32))
        model.model.set_weights([arrays[name] for name in sorted(arrays) if name.startswith("weight_")])
        return model

    def _network(self, *, seed: int, log_q: Floats) -> Any:
        import keras

        from pipelines.models.next_item import NextItem

        settings = self.settings
        policy = keras.DTypePolicy(self.precision)
        body = self.body(seed=seed + 10, policy=policy)
        model = NextItem(
            body, self.num_items, settings.dim, dropout=settings.dropout, loss=settings.loss,
            calibration=settings.calibration, log_q=log_q, seed=seed, dtype=policy,
        )  # fmt: skip
        body.build((None, settings.length, settings.dim))
        model.build(None)
        model.jit_compile = settings.xla or keras.backend.backend() == "jax"
        return model

    def _batches(self, train: Sequences, seed: int) -> Batches:
        settings = self.settings
        drawn = settings.loss != "softmax"
        return Batches(
            Steps.learned_from(train), settings.length, settings.batch_size, seed,
            num_negatives=settings.num_negatives if drawn else 0,
            cumulative=None if settings.negatives == "in_batch" else np.cumsum(self._shares(train)),
            timed=self.timed, hidden_times=self.hidden_times,
        )  # fmt: skip

    def _shares(self, train: Sequences) -> NDArray[np.float64]:
        """Return the probability of each item as a negative, `[num_items]`."""
        if self.settings.negatives == "uniform":
            return np.full(train.num_items, 1 / train.num_items)
        return np.asarray(np.bincount(train.items, minlength=train.num_items) / len(train.items))

    def _log_q(self, train: Sequences) -> Floats:
        """Return the log of the expected draws of each item; one that is never drawn gets a small number."""
        expected = self._shares(train) * self.settings.num_negatives
        return np.asarray(np.log(np.maximum(expected, 1e-12)), dtype=np.float32)

    def _describe(self, train: Sequences, options: RunOptions) -> str:
        """Return what a checkpoint must belong to."""
        columns: list[NDArray[Any]] = [train.items, train.offsets, *([] if train.times is None else [train.times])]
        content = arrays_digest(columns)
        return f"{type(self).__name__} {self.settings.model_dump_json()} {options.seed} {options.precision} {content}"

    def _compile(self, steps_an_epoch: int) -> None:
        import keras

        settings = self.settings
        total, peak = settings.epochs * steps_an_epoch, settings.learning_rate
        warmup = min(settings.warmup_steps, total // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak, max(total - warmup, 1), alpha=0.02, warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )  # fmt: skip
        optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, beta_2=0.98, global_clipnorm=5.0)
        optimizer.exclude_from_weight_decay(var_list=[w for w in self.model.trainable_variables if len(w.shape) < 2])
        self.model.compile(
            optimizer=optimizer, steps_per_execution=settings.steps_per_execution, jit_compile=self.model.jit_compile
        )
        self.model.optimizer.build(self.model.trainable_variables)

    def measure(self, validation: Validation) -> dict[str, float]:
        """Return `ndcg_at_10` and `recall_at_10` of the validation rows; equal scores count against the model."""
        vectors, items = self.encode(validation.queries), self.item_vectors()
        asked = np.flatnonzero(validation.targets >= 0)
        hit = [np.zeros((0, 10), dtype=bool)]
        for rows in np.split(asked, np.arange(SCORE_ROWS, len(asked), SCORE_ROWS)):
            relevant = np.zeros((len(rows), self.num_items), dtype=bool)
            relevant[np.arange(len(rows)), validation.targets[rows]] = True
            excluded = validation.queries.take(rows).seen() & ~relevant if validation.remove_seen else None
            hit.append(hits(worst_case_top(vectors[rows] @ items.T, relevant, 10, excluded=excluded), relevant))
        hit_all, one = np.concatenate(hit), np.ones(len(asked), dtype=np.int64)
        return {WATCHED: float(ndcg(hit_all, one, 10).mean()), "recall_at_10": float(recall(hit_all, one, 10).mean())}
