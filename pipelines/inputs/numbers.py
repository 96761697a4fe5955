"""Numeric columns to standardized or discretized float32 inputs, with fitted defaults for what is missing."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.inputs.arrays import Rows, Table, numbers, parts

Scale = Literal["log", "count", "linear"]
FEWEST_MISSING = 20  # a column with fewer nulls teaches its "missing" flag nothing


class NumberEncoder:
    """Each column becomes `(scale(x) - mean) / std`, clipped to the fitted range; a null becomes 0, the mean.

    Columns that had nulls while fitting get one more input, 1 where the value is missing. `log` takes log(1 + x)
    of the positive part, for counts and durations. `count` does, too, and takes a null as 0: nothing was counted.

    With `edges` a column becomes one input a bin instead, 1 where `scale(x)` is in it and 0 elsewhere; a null is in
    none. Bins hold about equally many fitted values: how values are spread does not matter, and the next layer learns
    a level for each bin, so that what a number says need not grow with it.

    Args:
        scales: column -> how it is scaled.
        fitted: column -> `mean`, `std`, `low`, `high` of its scaled values, and `flag`.
        edges: column -> ascending scaled values at which a next bin begins; None standardizes.
    """

    def __init__(
        self,
        scales: Mapping[str, Scale],
        fitted: Mapping[str, Mapping[str, float]],
        edges: Mapping[str, list[float]] | None = None,
    ) -> None:
        self.scales = dict(scales)
        self.edges = None if edges is None else dict(edges)
        self.fitted = {name: dict(values) for name, values in fitted.items()}
        self._columns = list(self.scales)
        stacked = {key: np.array([self.fitted[name][key] for name in self._columns]) for key in _FITTED}
        self._mean, self._std, self._low, self._high = (stacked[key] for key in ("mean", "std", "low", "high"))
        self._flagged = np.flatnonzero(stacked["flag"])
        self._log = np.array([self.scales[name] != "linear" for name in self._columns], dtype=bool)
        self._count = np.array([self.scales[name] == "count" for name in self._columns], dtype=bool)

    @classmethod
    def fit(cls, rows: Rows, scales: Mapping[str, Scale], *, num_bins: int | None = None) -> "NumberEncoder":
        """Learn mean, spread, range and presence of each column of `scales`, and with `num_bins` quantiles."""
        fitted: dict[str, dict[str, float]] = {}
        edges: dict[str, list[float]] = {}
        for name, scale in scales.items():  # one whole column is in memory, and not the next
            scaled = _scaled(_whole(rows, name), scale)
            fitted[name] = _fit(scaled)
            if num_bins is not None:
                edges[name] = _edges(scaled, num_bins)
        return cls(scales, fitted, None if num_bins is None else edges)

    @property
    def width(self) -> int:
        """Columns of the encoded matrix."""
        columns = len(self._columns) if self.edges is None else sum(len(e) + 1 for e in self.edges.values())
        return columns + len(self._flagged)

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Return float32 `[num_rows, width]`: the columns or their bins in order, then flags of missing values."""
        return self.encode_matrix(np.stack([numbers(table, name) for name in self._columns], axis=1))

    def encode_matrix(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the encoding of raw values `[num_rows, num_columns]`, NaN where missing."""
        raw = np.where(np.isnan(raw) & self._count, 0.0, raw)
        raw[:, self._log] = np.log1p(np.maximum(raw[:, self._log], 0.0))
        raw[~np.isfinite(raw)] = np.nan
        missing = np.isnan(raw)
        values = self._standardized(raw, missing) if self.edges is None else self._binned(raw, missing)
        return np.concatenate([values, missing[:, self._flagged]], axis=1, dtype=np.float32)

    def _standardized(self, scaled: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
        standard: NDArray[np.float64] = (np.clip(scaled, self._low, self._high) - self._mean) / self._std
        standard[missing] = 0.0
        return standard

    def _binned(self, scaled: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        parts = []
        for column, edges in enumerate((self.edges or {}).values()):
            place = np.searchsorted(edges, scaled[:, column], side="right")
            parts.append((place[:, None] == np.arange(len(edges) + 1)) & ~missing[:, column, None])
        return np.concatenate(parts, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable description."""
        described = {"scales": self.scales, "fitted": self.fitted}
        return described if self.edges is None else {**described, "edges": self.edges}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NumberEncoder":
        """Rebuild from `to_dict`."""
        return cls(values["scales"], values["fitted"], values.get("edges"))


_FITTED = ("mean", "std", "low", "high", "flag")


def _whole(rows: Rows, name: str) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(numbers(part, name) for part in parts(rows, (name,)))])


def _scaled(raw: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    if scale == "linear":
        return raw
    return np.log1p(np.maximum(np.nan_to_num(raw, nan=0.0) if scale == "count" else raw, 0.0))


def _edges(scaled: NDArray[np.float64], num_bins: int) -> list[float]:
    """Return where bins of equally many values meet, `[num_bins - 1]`; a value that often repeats leaves bins empty."""
    present = scaled[np.isfinite(scaled)]
    found: list[float] = np.quantile(present if present.size else 0.0, np.arange(1, num_bins) / num_bins).tolist()
    return found


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
