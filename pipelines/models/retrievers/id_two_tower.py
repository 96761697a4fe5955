"""The two-tower model of ids alone, for data that has nothing but interactions."""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from pipelines.config import RetrievalConfig, Section, TrainingConfig
from pipelines.models.export import export_onnx
from pipelines.models.retrieval import RetrievalData, build_two_tower, train_two_tower
from pipelines.models.retrievers.base import (
    Fitted,
    Floats,
    ModelCard,
    Retriever,
    RunOptions,
    Validation,
    require_interactions,
)
from pipelines.models.retrievers.files import read_learned, read_settings, write_model
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.renumbering import adapt_history
from pipelines.models.sequences import Codes, Sequences
from pipelines.models.training import predict, prepare_keras
from pipelines.models.vectors import QUERY_TOWER

FIRST = 2  # ids: 0 is nothing, 1 something unseen, then codes


class IdTwoTowerSettings(Section):
    """Settings of the two-tower model of ids; most mean what they mean in `retrieval`."""

    embedding_dim: int = Field(64, ge=4, description="length of query and item vectors")
    hidden_units: tuple[int, ...] = Field((), description="layers of each tower before its output")
    history_length: int = Field(50, ge=0, description="newest items of a history that are read; 0: the user id alone")
    history: Literal["earlier", "others"] = Field(
        "earlier",
        description="what a label's item is told from: items before it, or all others where order says nothing",
    )
    temperature: float = Field(0.1, gt=0, description="of the softmax")
    learning_rate: float = Field(0.003, gt=0, description="Adam's step at the start")
    batch_size: int = Field(512, ge=8, description="also the number of in-batch negatives")
    epochs: int = Field(10, ge=1, description="at most")
    patience: int = Field(2, ge=1, description="epochs without gain before training ends")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of units left out while training")
    user_dropout: float = Field(0.3, ge=0, lt=1, description="share of user ids replaced by an unseen one in training")
    item_dropout: float = Field(0.0, ge=0, lt=1, description="share of item ids replaced by an unseen one in training")
    num_sampled_negatives: int = Field(0, ge=0, description="negatives a batch drawn uniformly from all items")
    log_q: Literal["counts", "stream"] = Field("counts", description="how often items are drawn: counted, or streamed")


class IdTwoTower(Retriever):
    """`two_tower` told users, items and histories by their ids: for comparison, and for data without features."""

    card = ModelCard(
        name="id_two_tower",
        family="deep",
        needs="interactions",
        good_at="what two_tower learns from ids alone; published protocols, which have no features",
        source="Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item recommendations",
    )
    Settings = IdTwoTowerSettings
    # As many epochs as the tutorial that it was measured against; the rest was chosen on the validation part.
    presets = {
        "quality": {
            "epochs": 3,
            "history_length": 100,
            "history": "others",
            "learning_rate": 0.02,
            "temperature": 0.2,
        },
        "users": {
            "epochs": 3,
            "history_length": 0,
            "user_dropout": 0.0,
            "learning_rate": 0.01,
            "temperature": 0.2,
        },
        "small": {"history_length": 50, "epochs": 10},
        "medium": {"history_length": 50, "epochs": 3, "batch_size": 1024},
        "large": {"history_length": 20, "epochs": 1, "batch_size": 1024},
    }

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.model: Any = None
        self.num_users = self.num_items = 0

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Learn to tell each interaction's item from its user and the rest of its row."""
        require_interactions(train)
        self.num_users, self.num_items = int(train.users.max()) + 1, train.num_items
        run = TrainingConfig(device=options.device, num_devices=options.num_devices, precision=options.precision)
        self.model, fit = train_two_tower(
            self._data(train, validation), **self._shapes(), config=self._config(len(train.items)),
            seed=options.seed, checkpoints=options.checkpoints, run=run, after_epoch=options.after_epoch,
        )  # fmt: skip
        return Fitted(fit, {"num_parameters": float(self.model.count_params())})

    def score(self, queries: Sequences) -> Floats:
        """Return the cosines of query vectors and item vectors, float32 `[num_queries, num_items]`."""
        if not len(queries):
            return np.zeros((0, self.num_items), dtype=np.float32)
        vectors = predict(self.model.query_tower, self._asked(queries))
        return np.asarray(vectors @ self.item_vectors().T, dtype=np.float32)

    def item_vectors(self) -> Floats:
        """Return the outputs of the item tower, float32 `[num_items, embedding_dim]`."""
        return np.asarray(predict(self.model.item_tower, {"item": self._corpus()}), dtype=np.float32)

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the query tower as an ONNX graph of user and history, and the item vectors."""
        folder.mkdir(parents=True, exist_ok=True)
        example = np.arange(4 * self.settings.history_length, dtype=np.int32).reshape(4, -1) % (1 + self.num_items)
        inputs = {"history": example, "user": np.arange(4, dtype=np.int32) % (1 + self.num_users)}
        export_onnx(self._served(), folder / QUERY_TOWER, inputs)
        adapt_history(folder / QUERY_TOWER, layout)
        save_item_vectors(folder, layout, self.item_vectors())

    def save(self, folder: Path) -> None:
        """Write settings and weights."""
        about = {"num_users": np.array(self.num_users), "num_items": np.array(self.num_items)}
        weights = {f"weight_{i:03d}": np.asarray(weight) for i, weight in enumerate(self.model.weights)}
        write_model(folder, self.settings, about | weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model, arrays = cls(read_settings(folder, cls.Settings)), read_learned(folder)
        model.num_users, model.num_items = int(arrays["num_users"]), int(arrays["num_items"])
        prepare_keras(0)
        model.model = build_two_tower(**model._shapes(), config=model._config(1), seed=0)
        model.model.set_weights([arrays[name] for name in sorted(arrays) if name.startswith("weight_")])
        return model

    def _data(self, train: Sequences, validation: Validation | None) -> RetrievalData:
        queries = self._read({"user": train.users[train.rows], "history": self._histories(train)})
        known = np.flatnonzero(validation.targets >= 0) if validation else np.zeros(0, dtype=np.int64)
        asked = self._asked(validation.queries.take(known)) if validation else {}
        wanted = validation.targets[known].astype(np.int64) if validation else known
        return RetrievalData(queries, {"item": _ids(train.items)}, asked, wanted, {"item": self._corpus()})

    def _histories(self, train: Sequences) -> Codes:
        """Return what each interaction is told from, -1 for nothing, `[num_interactions, history_length]`."""
        here, length = np.arange(len(train.items)), self.settings.history_length
        end = here if self.settings.history == "earlier" else train.offsets[1:][train.rows]
        places = end[:, None] - length + np.arange(length)
        inside = (places >= train.offsets[train.rows][:, None]) & (places != here[:, None])
        return np.where(inside, train.items[np.maximum(places, 0)], -1).astype(np.int32)

    def _asked(self, queries: Sequences) -> dict[str, Codes]:
        return self._read({"user": queries.users, "history": queries.padded(self.settings.history_length)})

    def _read(self, codes: dict[str, Codes]) -> dict[str, Codes]:
        """Return the query tower's inputs of codes."""
        return {name: _ids(codes[name]) for name in self._shapes()["query_shapes"]}

    def _corpus(self) -> Codes:
        return _ids(np.arange(self.num_items, dtype=np.int32))

    def _shapes(self) -> dict[str, Any]:
        length = self.settings.history_length
        history = {"history": ((length,), "int32")} if length else {}
        return {
            "query_shapes": {"user": ((), "int32"), **history},
            "item_shapes": {"item": ((), "int32")},
            "sizes": {"user": FIRST + self.num_users, "item": FIRST + self.num_items},
        }

    def _config(self, num_rows: int) -> RetrievalConfig:
        own = self.settings.model_dump(exclude={"history", "history_length"})
        limits = {"max_examples": num_rows * self.settings.epochs, "num_oov_buckets": 1}
        # A row is seen as it is asked about; interactions need not be in order of time.
        return RetrievalConfig(**own, **limits, num_periods=1, earlier_share=0.0)

    def _served(self) -> Any:
        """Return the query tower in the numbers that `adapt_history` gives: 0 for nothing, then codes from 1."""
        import keras

        from pipelines.models.two_tower import input_tensors

        inputs = input_tensors(self._shapes()["query_shapes"])
        shifted = {name: x + keras.ops.cast(x > 0, "int32") for name, x in inputs.items()}
        return keras.Model(inputs, self.model.query_tower(shifted))


def _ids(codes: Codes) -> Codes:
    """Return ids of codes: 0 for those below 0, which are nothing or unknown."""
    return np.where(codes < 0, 0, codes + FIRST).astype(np.int32)
