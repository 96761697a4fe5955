"""What a search tries: settings by dotted name, each a range or a list of values."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import ConfigError
from pipelines.models.retrievers.catalogue import TWO_TOWER, model_class

SECTION = "retrieval."
# Which model it is, and what decides the labels and what is known of items: trials of one search share them.
SHARED = ("model", "preset", "settings", "min_positive_value", "item_vectors", "vector_column")
HOW_WRITTEN = "a list such as [32, 64], a range such as 0.0..0.5 or 8..64, or one by powers such as log:1e-4..1e-2"

Params = dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """One setting and the values that are tried of it.

    Attributes:
        key: dotted name, as with `--set`.
        choices: values as JSON texts; empty for a range.
        low: least value of a range; a range of integers has integers as ends.
        high: greatest value.
        log: whether equal ratios are equally likely, rather than equal differences.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @classmethod
    def of(cls, key: str, spec: Any) -> "Dimension":
        """Read a list, or a range such as `log:1e-4..1e-2`.

        Raises:
            ConfigError: it is neither, or has fewer than two values.
        """
        if isinstance(spec, list | tuple):
            choices = tuple(dict.fromkeys(json.dumps(value, sort_keys=True) for value in spec))
            if len(choices) > 1:
                return cls(key, choices=choices)
        text = spec if isinstance(spec, str) else ""
        low, dots, high = text.removeprefix("log:").partition("..")
        log = text.startswith("log:")
        ends = _ends(low, high) if dots else None
        if ends is None or not ends[0] < ends[1] or (log and ends[0] <= 0):
            raise ConfigError(
                f"space of {key} is {spec!r}; expected at least two values: {HOW_WRITTEN}, which is above 0"
            )
        return cls(key, low=ends[0], high=ends[1], log=log)

    @property
    def num_values(self) -> int | None:
        """How many values there are; None for real numbers."""
        if self.choices:
            return len(self.choices)
        return int(self.high) - int(self.low) + 1 if isinstance(self.low, int) else None

    def values(self) -> list[Any]:
        """Return all values of a list or of a range of integers, as Optuna keeps them."""
        return list(self.choices) or list(range(int(self.low), int(self.high) + 1))

    def ends(self) -> list[Any]:
        """Return the values that must be legal for all to be: every choice, or both ends."""
        return [json.loads(choice) for choice in self.choices] or [self.low, self.high]

    def distribution(self) -> Any:
        """Return it as Optuna names it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int):
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Space:
    """All dimensions of a search, by key."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, specs: Mapping[str, Any]) -> "Space":
        """Read dotted key -> list or range.

        Raises:
            ConfigError: there is none, one is malformed, or one is not what a search may change.
        """
        if not specs:
            raise ConfigError(f"the space of this search is empty; expected settings, each with {HOW_WRITTEN}")
        for key in specs:
            name = key.removeprefix(SECTION)
            if name == key or name in SHARED:
                raise ConfigError(
                    f"{key} cannot be searched: all trials are of one model on one training set; expected settings of "
                    f"{SECTION}* other than {', '.join(SHARED)}"
                )
        return cls(tuple(Dimension.of(key, specs[key]) for key in sorted(specs)))

    @property
    def num_points(self) -> int | None:
        """How many different settings there are; None where one is a real number."""
        sizes = [dimension.num_values for dimension in self.dimensions]
        return None if None in sizes else math.prod(size or 0 for size in sizes)

    def points(self) -> Iterator[Params]:
        """Yield every point of a space that has a number of them, as Optuna keeps it."""
        keys = [dimension.key for dimension in self.dimensions]
        for values in itertools.product(*(dimension.values() for dimension in self.dimensions)):
            yield dict(zip(keys, values, strict=True))

    def distributions(self) -> dict[str, Any]:
        """Return key -> distribution, as Optuna names it."""
        return {dimension.key: dimension.distribution() for dimension in self.dimensions}

    def settings(self, params: Params) -> Params:
        """Return dotted key -> value of what Optuna keeps."""
        return {d.key: json.loads(params[d.key]) if d.choices else params[d.key] for d in self.dimensions}


def default_space(model: str) -> Params:
    """Return dotted key -> what is searched of a model unless somebody says otherwise; empty for nothing.

    Raises:
        ConfigError: no model has the name.
    """
    prefix = SECTION if model == TWO_TOWER else f"{SECTION}settings."
    return {f"{prefix}{name}": spec for name, spec in model_class(model).space.items()}


def _ends(low: str, high: str) -> tuple[float, float] | None:
    """Return both ends, as integers where both are; None unless they are finite numbers."""
    if re.fullmatch(r"[+-]?\d+", low) and re.fullmatch(r"[+-]?\d+", high):
        return int(low), int(high)
    try:
        ends = float(low), float(high)
    except ValueError:
        return None
    return ends if all(map(math.isfinite, ends)) else None
