"""The contract of every model that scores a corpus: what it needs, how it is fitted, asked, kept and loaded."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.config import Section
from pipelines.errors import TrainingError
from pipelines.models.devices import Device
from pipelines.models.retrievers.files import read_learned, read_settings, write_model
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.similarity import Nearest, nearest
from pipelines.models.sequences import Codes, Sequences
from pipelines.models.training import AfterEpoch, Fit

Floats = NDArray[np.float32]
UNSEEN_NDCG = "validation_unseen_ndcg_at_10"


@dataclass(frozen=True)
class ModelCard:
    """What `tandem models` says of a model.

    Attributes:
        name: as in `tandem train NAME`.
        family: of a retriever one of the catalogue's `FAMILIES`; simple ones stand beside deep ones in comparisons.
        needs: what it learns from, such as `order of events`.
        good_at: where it is worth trying, in a line.
        source: paper or description of the method.
        served: whether `export` writes what serving loads; otherwise it is for comparison alone.
        items_squared: whether fitting it with its defaults fills a matrix of items by items, which large corpora do
            not have the memory for.
    """

    name: str
    family: str
    needs: str
    good_at: str
    source: str
    served: bool = True
    items_squared: bool = False


@dataclass(frozen=True)
class RunOptions:
    """Conditions of a run, apart from the model's own settings.

    Attributes:
        seed: decides everything random.
        device: `auto` takes an accelerator where there is one.
        num_devices: how many of them take a part of every batch; changes results by rounding alone.
        precision: of the layers; logits and softmax are always float32.
        checkpoints: folder for what an interrupted run is resumed from; None keeps nothing.
        progress: whether to draw a progress bar.
        nearest: what looks for similar users and items; equal neighbours whatever it is.
        after_epoch: told after each epoch how training went so far; what it raises ends the training. Models without
            epochs never call it.
    """

    seed: int
    device: Device = "auto"
    num_devices: int = 1
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    checkpoints: Path | None = None
    progress: bool = False
    nearest: Nearest = nearest
    after_epoch: AfterEpoch | None = None


@dataclass(frozen=True)
class Validation:
    """What a model is chosen by: rows from a later window than training's.

    Attributes:
        queries: what was known of each row.
        targets: the item used next, `[num_queries]`.
        remove_seen: whether items of the query are left out of the ranking.
    """

    queries: Sequences
    targets: Codes
    remove_seen: bool = True


@dataclass(frozen=True)
class Fitted:
    """How fitting went: curves of an iterated model, and figures such as `num_parameters`."""

    fit: Fit = field(default_factory=Fit)
    figures: dict[str, float] = field(default_factory=dict)


def require_interactions(train: Sequences) -> None:
    """Raise TrainingError when there is nothing to learn from."""
    if not len(train.items):
        raise TrainingError(
            f"the training window holds 0 interactions of {len(train)} users; expected at least 1. Run "
            "`tandem ingest-events` for more data, or lower retrieval.min_positive_value"
        )


class Retriever(ABC):
    """A model that scores all items for a query, from the query's history and user.

    A subclass names its `card`, its frozen `Settings`, and in `learned` the attributes that fitting sets: arrays or
    scipy CSR matrices. One that keeps anything else writes and reads it in `save` and `load`.
    """

    card: ClassVar[ModelCard]
    Settings: ClassVar[type[Section]]
    learned: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[dict[str, dict[str, Any]]] = {}  # name -> settings, such as `quality` for published results
    objective: ClassVar[str] = (
        UNSEEN_NDCG  # validation metric that settings are chosen by; epochs too, if there are any
    )
    space: ClassVar[dict[str, Any]] = {}  # setting -> what `tandem search` tries of it: see `pipelines/search/space.py`

    def __init__(self, settings: Any = None) -> None:
        """Take the settings; None takes the defaults."""
        self.settings: Any = settings if settings is not None else self.Settings()

    @abstractmethod
    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Learn from the training window alone; equal arguments give an equal model on one device.

        Args:
            train: one row a user.
            options: seed, device and the like.
            validation: rows by which to stop early or to choose; a model that needs none ignores it.

        Raises:
            TrainingError: there is nothing to learn from, or training diverged.
        """

    @abstractmethod
    def score(self, queries: Sequences) -> Floats:
        """Return finite scores of all items, float32 `[num_queries, num_items]`; higher is better.

        An empty history and a user of -1 are legal. Ask for some hundred queries at a time.
        """

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write what serving loads: `query_tower.onnx`, and `item_tower.onnx` or sparse `item_vectors.npz`.

        Inner products of both sides equal `score` for queries without times and values, whose history is no longer
        than the layout's; serving knows no more. See `QueryGraph`, `save_item_vectors` and, for Keras,
        `export_onnx` followed by `adapt_history`.

        Args:
            folder: of the bundle.
            layout: how serving numbers items and users.

        Raises:
            TrainingError: the model is for comparison alone.
        """
        raise TrainingError(
            f"model {self.card.name!r} cannot be served: it is for comparison alone. Train one that `tandem models` "
            "shows as served"
        )

    def save(self, folder: Path) -> None:
        """Write settings and what was learned below `folder`, without a pickle."""
        write_model(folder, self.settings, {name: getattr(self, name) for name in self.learned})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; scores are equal to those of the model that was saved."""
        model, learned = cls(read_settings(folder, cls.Settings)), read_learned(folder)
        for name in cls.learned:
            setattr(model, name, learned[name])
        return model
