"""Numeric columns to standardized, clipped float32 inputs, with fitted defaults for what is missing."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.inputs.arrays import Table, numbers

Scale = Literal["log", "linear"]
FEWEST_MISSING = 20  # a column with fewer nulls teaches its "missing" flag nothing


class NumberEncoder:
    """Each column becomes `(scale(x) - mean) / std`, clipped to the fitted range; a null becomes 0, the mean.

    Columns that had nulls while fitting get one more input, 1 where the value is missing. `log` takes log(1 + x)
    of the positive part, for counts and durations.
    """

    def __init__(self, scales: Mapping[str, Scale], fitted: Mapping[str, Mapping[str, float]]) -> None:
        self.scales = dict(scales)
        self.fitted = {name: dict(values) for name, values in fitted.items()}
        self._columns = list(self.scales)
        stacked = {key: np.array([self.fitted[name][key] for name in self._columns]) for key in _FITTED}
        self._mean, self._std, self._low, self._high = (stacked[key] for key in ("mean", "std", "low", "high"))
        self._flagged = np.flatnonzero(stacked["flag"])
        self._log = np.array([self.scales[name] == "log" for name in self._columns], dtype=bool)

    @classmethod
    def fit(cls, table: Table, scales: Mapping[str, Scale]) -> "NumberEncoder":
        """Learn mean, spread, range and presence of each column of `scales`."""
        fitted = {name: _fit(_scaled(numbers(table, name), scale)) for name, scale in scales.items()}
        return cls(scales, fitted)

    @property
    def width(self) -> int:
        """Columns of the encoded matrix."""
        return len(self._columns) + len(self._flagged)

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Return float32 `[num_rows, width]`: the columns in order, then the flags of missing values."""
        return self.encode_matrix(np.stack([numbers(table, name) for name in self._columns], axis=1))

    def encode_matrix(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the encoding of raw values `[num_rows, num_columns]`, NaN where missing."""
        raw = raw.copy()
        raw[:, self._log] = np.log1p(np.maximum(raw[:, self._log], 0.0))
        raw[~np.isfinite(raw)] = np.nan
        missing = np.isnan(raw)
        standard = (np.clip(raw, self._low, self._high) - self._mean) / self._std
        standard[missing] = 0.0
        return np.concatenate([standard, missing[:, self._flagged]], axis=1, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable description."""
        return {"scales": self.scales, "fitted": self.fitted}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NumberEncoder":
        """Rebuild from `to_dict`."""
        return cls(values["scales"], values["fitted"])


_FITTED = ("mean", "std", "low", "high", "flag")


def _scaled(raw: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    return np.log1p(np.maximum(raw, 0.0)) if scale == "log" else raw


def _fit(scaled: NDArray[np.float64]) -> dict[str, float]:
    present = scaled[np.isfinite(scaled)]
    if present.size == 0:
        return {"mean": 0.0, "std": 1.0, "low": 0.0, "high": 0.0, "flag": 0.0}
    std = float(present.std())
    return {
        "mean": float(present.mean()),
        "std": std if std > 1e-6 else 1.0,
        "low": float(present.min()),
        "high": float(present.max()),
        "flag": float(scaled.size - present.size >= FEWEST_MISSING),
    }


def cyclic(values: NDArray[np.float64], period: float) -> NDArray[np.float32]:
    """Return sine and cosine of a periodic value, float32 `[num_rows, 2]`; (0, 0) where it is NaN."""
    angle = 2 * np.pi * values / period
    return np.asarray(np.nan_to_num(np.stack([np.sin(angle), np.cos(angle)], axis=1)), dtype=np.float32)
