"""A blend: the scores of several models, brought to one scale and added with weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models import metrics
from pipelines.models.retrievers.base import Fitted, Floats, ModelCard, Retriever, RunOptions, Validation
from pipelines.models.retrievers.files import read_learned, read_settings, write_model
from pipelines.models.sequences import Sequences

CHOICES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
TOP_K = 10


class BlendPart(Section):
    """A model of a blend."""

    model: str = Field(description="name in the catalogue of models")
    settings: dict[str, Any] = Field({}, description="over the model's defaults")
    weight: float = Field(1.0, ge=0, description="of the model's scores, each query's brought to deviation 1")


class BlendSettings(Section):
    """The models, and how their weights are found."""

    parts: tuple[BlendPart, ...] = Field(
        (
            BlendPart(model="ease", settings={"history_decay": 0.9}),
            BlendPart(model="linear_transitions"),
        ),
        min_length=1,
        description="models whose scores are added",
    )
    choose_weights: bool = Field(
        False, description="whether the weights are chosen by NDCG@10 on the validation rows, from those given on"
    )
    num_rounds: int = Field(2, ge=1, description="times that each weight in turn is chosen anew")


class Blend(Retriever):
    """Adds the parts' scores, each query's less their mean and divided by their deviation over all items."""

    card = ModelCard(
        name="blend",
        family="fusion",
        needs="what its parts need; validation rows where weights are chosen",
        good_at="a little better than its best part, more so where the parts differ",
        source="score fusion; Fox and Shaw, Combination of multiple searches, 1994",
        served=False,  # standardized scores of whole rows are no inner product of a query and an item
    )
    Settings = BlendSettings

    def __init__(self, settings: BlendSettings | None = None) -> None:
        super().__init__(settings)
        self.weights = np.array([part.weight for part in self.settings.parts], dtype=np.float32)
        self.parts = [_new(part) for part in self.settings.parts]

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Fit every part; choose the weights where asked to and validation rows are there."""
        figures: dict[str, float] = {}
        for number, part in enumerate(self.parts):
            own = options.checkpoints and options.checkpoints / f"part_{number}"
            fitted = part.fit(train, options=replace(options, checkpoints=own), validation=validation)
            figures |= {f"part_{number}_{name}": value for name, value in fitted.figures.items()}
        if self.settings.choose_weights and validation is not None:
            self._choose(validation)
        return Fitted(figures=figures | {f"weight_{number}": float(w) for number, w in enumerate(self.weights)})

    def score(self, queries: Sequences) -> Floats:
        """Return the weighted sum of standardized scores, `[num_queries, num_items]`."""
        total = np.zeros((len(queries), queries.num_items), dtype=np.float32)
        for weight, part in zip(self.weights, self.parts, strict=True):
            if weight:
                total += weight * _standardized(part.score(queries))
        return total

    def save(self, folder: Path) -> None:
        """Write settings, weights, and each part into a folder of its own."""
        write_model(folder, self.settings, {"weights": self.weights})
        for number, part in enumerate(self.parts):
            part.save(folder / f"part_{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(read_settings(folder, cls.Settings))
        model.weights = read_learned(folder)["weights"]
        model.parts = [type(part).load(folder / f"part_{number}") for number, part in enumerate(model.parts)]
        return model

    def _choose(self, validation: Validation) -> None:
        """Choose each weight in turn among a few, the others held; of equal ones the first."""
        asked = np.flatnonzero(validation.targets >= 0)
        queries = validation.queries.take(asked)
        scores = [_standardized(part.score(queries)) for part in self.parts]
        relevant = np.zeros(scores[0].shape, dtype=bool)
        relevant[np.arange(len(asked)), validation.targets[asked]] = True
        excluded = queries.seen() if validation.remove_seen else None
        best = -1.0
        for _ in range(self.settings.num_rounds):
            for number in range(len(scores)):
                for choice in CHOICES:
                    weights = self.weights.copy()
                    weights[number] = choice
                    total = sum(weight * part for weight, part in zip(weights, scores, strict=True))
                    top = metrics.worst_case_top(np.asarray(total), relevant, TOP_K, excluded=excluded)
                    hit = metrics.hits(top, relevant)
                    reached = float(metrics.ndcg(hit, np.ones(len(hit), dtype=np.int64), TOP_K).mean())
                    if reached > best:
                        best, self.weights = reached, weights


def _new(part: BlendPart) -> Retriever:
    from pipelines.models.retrievers.catalogue import retriever_class

    kind = retriever_class(part.model)
    return kind(kind.Settings(**part.settings))


def _standardized(scores: Floats) -> Floats:
    """Return scores less each row's mean, divided by its deviation; a row without deviation becomes zeros."""
    deviation = scores.std(axis=1, keepdims=True)
    return np.asarray((scores - scores.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1))
