"""What a published protocol consists of: data, question, metrics, what others reached, and what we want to reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipelines.errors import ConfigError

Part = Literal["test", "validation"]
LOWER_IS_BETTER = {"rmse"}


@dataclass(frozen=True)
class Published:
    """A figure of others.

    Attributes:
        model: its name there.
        values: metric -> value.
        source: where it was published.
    """

    model: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Contender:
    """A model of ours with its settings, which were chosen on the validation part.

    Attributes:
        name: line of the table.
        model: name in the catalogue of models.
        settings: those that differ from the model's defaults.
        stops_early: whether it learns without the validation part and stops by it; else from all but the test.
        is_random: whether the seed matters; a model it does not matter to runs once.
    """

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    stops_early: bool = False
    is_random: bool = False

    def settings_of(self, kind: Any) -> Any:
        """Return the settings as those of a model class.

        Raises:
            ConfigError: a setting is unknown or out of range.
        """
        try:
            return kind.Settings(**self.settings)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"setting {where!r} of {self.model}: {first['msg']} (got {first.get('input')!r}). "
                "`tandem models --json` lists each model's settings"
            ) from error


@dataclass(frozen=True)
class Parts:
    """The questions of one seed: the published test, and one of our own within its training part, to choose by."""

    test: Any
    validation: Any


@dataclass(frozen=True)
class Protocol:
    """One published way to measure.

    Attributes:
        name: as in `tandem reproduce NAME`.
        data: folder of the data file.
        split: folder of published files and seed -> the parts; most splits are the same for every seed.
        inputs: what a model is told of a query, in words.
        removed: what is left out of the ranking, in words.
        measure: contender, parts, part and seed -> every metric, as `Measures` where users can be told apart.
        metrics: the metrics reported, the first one decides.
        published: figures of others, the best first.
        goal: metric -> what we want to reach.
        contenders: what is run by default, the best on the validation part first.
    """

    name: str
    data: str
    split: Callable[[Path, int], Parts]
    inputs: str
    removed: str
    measure: Callable[[Contender, Parts, Part, int], Mapping[str, float]]
    metrics: tuple[str, ...]
    published: tuple[Published, ...]
    goal: Mapping[str, float]
    contenders: tuple[Contender, ...]

    def met(self, values: Mapping[str, float]) -> bool:
        """Return whether every metric of the goal is reached."""
        return all(reaches(name, values[name], wanted) for name, wanted in self.goal.items())


def reaches(metric: str, value: float, wanted: float) -> bool:
    """Return whether a value is as good as one wanted."""
    return value <= wanted if metric in LOWER_IS_BETTER else value >= wanted
