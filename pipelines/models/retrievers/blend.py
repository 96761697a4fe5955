"""A blend: the scores of several models, brought to one scale and added with weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models import metrics
from pipelines.models.retrievers.base import Fitted, Floats, ModelCard, Retriever, RunOptions, Validation
from pipelines.models.retrievers.blend_export import ROUNDING, save_blend
from pipelines.models.retrievers.blend_presets import PRESETS
from pipelines.models.retrievers.files import read_learned, read_settings, write_model
from pipelines.models.retrievers.layout import Layout
from pipelines.models.sequences import Sequences

CHOICES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
TOP_K = 10
NUM_SCALED = 1_000  # queries whose deviations are averaged
QUERIES_AT_ONCE = 250


class BlendPart(Section):
    """A model of a blend."""

    model: str = Field(description="name in the catalogue of models")
    settings: dict[str, Any] = Field({}, description="over the model's defaults")
    weight: float = Field(1.0, ge=0, description="of the model's scores, once brought to deviation 1")


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
    scale: Literal["query", "model"] = Field(
        "query",
        description="scores are divided by their deviation of each query, or by the model's mean one, which leaves "
        "sparse vectors sparse",
    )


class Blend(Retriever):
    """Adds the parts' scores, brought to one scale.

    With `scale: query` each query's scores by a part lose their mean and are divided by their deviation over all
    items; with `scale: model` they are divided by the mean deviation of the part's scores on validation rows, or on
    training rows where there are none. Either way the sum is an inner product: see `save_blend`.
    """

    card = ModelCard(
        name="blend",
        family="fusion",
        needs="what its parts need; validation rows where weights are chosen",
        good_at="a little better than its best part, more so where the parts differ",
        source="score fusion; Fox and Shaw, Combination of multiple searches, 1994",
        items_squared=True,  # its default parts
    )
    Settings = BlendSettings
    presets = PRESETS

    def __init__(self, settings: BlendSettings | None = None) -> None:
        super().__init__(settings)
        self.weights = np.array([part.weight for part in self.settings.parts], dtype=np.float32)
        self.deviations = np.ones(len(self.weights), dtype=np.float32)
        self.parts = [_new(part) for part in self.settings.parts]

    def fit(self, train: Sequences, *, options: RunOptions, validation: Validation | None = None) -> Fitted:
        """Fit every part; choose the weights where asked to and validation rows are there."""
        figures: dict[str, float] = {}
        for number, part in enumerate(self.parts):
            checkpoints = options.checkpoints and options.checkpoints / f"part_{number}"
            # Seeds of their own: the same model twice is two models, whose errors partly cancel.
            own = replace(options, checkpoints=checkpoints, seed=options.seed + number)
            fitted = part.fit(train, options=own, validation=validation)
            figures |= {f"part_{number}_{name}": value for name, value in fitted.figures.items()}
        if self.settings.scale == "model":
            self.deviations = self._mean_deviations(train if validation is None else validation.queries, options.seed)
        if self.settings.choose_weights and validation is not None:
            self._choose(validation)
        return Fitted(figures=figures | {f"weight_{number}": float(w) for number, w in enumerate(self.weights)})

    def score(self, queries: Sequences) -> Floats:
        """Return the weighted sum of scores on one scale, `[num_queries, num_items]`."""
        total = np.zeros((len(queries), queries.num_items), dtype=np.float32)
        for number in np.flatnonzero(self.weights).tolist():
            total += self.weights[number] * self._scaled(number, queries)
        return total

    def export(self, folder: Path, *, layout: Layout) -> None:
        """Write the parts' vectors side by side; see `save_blend`."""
        # Where no part has a weight, the first one stands with nothing of its scores.
        used = np.flatnonzero(self.weights) if self.weights.any() else np.array([0])
        parts, factors = [self.parts[number] for number in used], (self.weights / self.deviations)[used]
        save_blend(folder, parts, factors, layout=layout, per_query=self.settings.scale == "query")

    def save(self, folder: Path) -> None:
        """Write settings, weights and deviations, and each part into a folder of its own."""
        write_model(folder, self.settings, {"weights": self.weights, "deviations": self.deviations})
        for number, part in enumerate(self.parts):
            part.save(folder / f"part_{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        model = cls(read_settings(folder, cls.Settings))
        learned = read_learned(folder)
        model.weights, model.deviations = learned["weights"], learned["deviations"]
        model.parts = [type(part).load(folder / f"part_{number}") for number, part in enumerate(model.parts)]
        return model

    def _scaled(self, number: int, queries: Sequences) -> Floats:
        """Return a part's scores, brought to one scale."""
        scores = self.parts[number].score(queries)
        if self.settings.scale == "query":
            return _standardized(scores)
        return np.asarray(scores / self.deviations[number], dtype=np.float32)

    def _mean_deviations(self, queries: Sequences, seed: int) -> Floats:
        """Return each part's mean deviation over a sample of queries, 1 where it is nothing, `[num_parts]`."""
        sample = np.sort(np.random.default_rng(seed).permutation(len(queries))[:NUM_SCALED])
        batches = [
            queries.take(rows) for rows in np.split(sample, np.arange(QUERIES_AT_ONCE, len(sample), QUERIES_AT_ONCE))
        ]
        found = [np.concatenate([part.score(batch).std(axis=1) for batch in batches]).mean() for part in self.parts]
        return np.array([value or 1.0 for value in found], dtype=np.float32)

    def _choose(self, validation: Validation) -> None:
        """Choose each weight in turn among a few, the others held; of equal ones the first."""
        asked = np.flatnonzero(validation.targets >= 0)
        queries = validation.queries.take(asked)
        scores = [self._scaled(number, queries) for number in range(len(self.parts))]
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
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    there = deviation > ROUNDING * np.abs(scores).max(axis=1, keepdims=True, initial=0)
    return np.asarray(np.where(there, centred / np.where(there, deviation, 1), 0), dtype=np.float32)
