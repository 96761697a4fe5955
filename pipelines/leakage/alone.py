"""How well one column alone tells labels: numbers by ranges, text by values, both measured out of fold.

Every value, or range of numbers, tells by the share of positives among its rows. It is learnt on one half of the rows
and measured on the other, and drawn towards the share of all rows as by one row more: what is rare tells little, and
chance nothing.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUM_RANGES = 32
_NONE = 0
"""Code of rows without any value."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Labels = NDArray[np.bool_]


def histogram_auc(values: Floats, labels: Labels) -> float:
    """Return how well `values` alone tells `labels`, 0.5 for not at all and 1 for perfectly.

    Args:
        values: `[num_rows]`, NaN where missing.
        labels: bool `[num_rows]`.

    Returns:
        Area under the curve of the share of positives in each range of values, cross-fitted over two halves. What is
        missing is a range of its own, so that any shape of dependence is found, the pattern of nulls included.
    """
    known = values[~np.isnan(values)]
    # Ranges end below a value that many rows share, so that it has one of its own.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_RANGES + 1))) if known.size else np.zeros(0)
    ranges = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
    return _cross_fitted(np.arange(len(values)), ranges, labels)


def values_auc(column: pa.ChunkedArray, labels: Labels) -> float:
    """Return how well text, or lists of text, alone tells `labels`; a row is told by its most telling value.

    Args:
        column: string or list of strings `[num_rows]`.
        labels: bool `[num_rows]`.
    """
    rows, codes, _ = _coded(column)
    return _cross_fitted(rows, codes, labels)


def most_telling(column: pa.ChunkedArray, labels: Labels) -> str | None:
    """Return the value of text, or of lists of text, that tells most over all rows; None if it is having none."""
    rows, codes, names = _coded(column)
    return str(names[code - 1]) if (code := int(np.abs(_told(rows, codes, labels)).argmax())) else None


def _coded(column: pa.ChunkedArray) -> tuple[Integers, Integers, pa.Array]:
    """Return a row and a code for each value of each row, codes counting from 1, and the values by code."""
    values = column.combine_chunks()
    rows = np.arange(len(values))
    if not pa.types.is_string(values.type):
        rows = np.repeat(rows, pc.fill_null(pc.list_value_length(values), 0).to_numpy())
        values = values.flatten()
    known = pc.is_valid(values)
    rows = rows[known.to_numpy(zero_copy_only=False)]
    coded = pc.dictionary_encode(values.filter(known))
    codes = coded.indices.to_numpy().astype(np.int64) + 1
    empty = np.setdiff1d(np.arange(len(column)), rows)
    return np.concatenate([rows, empty]), np.concatenate([codes, np.full(len(empty), _NONE)]), coded.dictionary


def _cross_fitted(rows: Integers, codes: Integers, labels: Labels) -> float:
    """Learn on one half what each code tells, measure it on the other, and the other way around."""
    if labels.all() or not labels.any():
        return 0.5
    half = np.random.default_rng(0).permutation(len(labels)) % 2
    areas, size = [], int(codes.max()) + 1
    for fold in (0, 1):
        learn = half[rows] != fold
        told = _told(rows[learn], codes[learn], labels, size)
        scores = _strongest(rows[~learn], told[codes[~learn]], len(labels))
        areas.append(_auc(scores[half == fold], labels[half == fold]))
    return float(np.mean(areas))


def _told(rows: Integers, codes: Integers, labels: Labels, size: int = 0) -> Floats:
    """Return for each code how far it moves the log odds of a positive, `[num_codes]`, 0 for not at all."""
    rate = labels.mean()
    total = np.bincount(codes, minlength=size)
    positive = np.bincount(codes[labels[rows]], minlength=len(total))
    share = (positive + rate) / (total + 1)
    return np.asarray(np.log(share / (1 - share)) - np.log(rate / (1 - rate)))


def _strongest(rows: Integers, told: Floats, num_rows: int) -> Floats:
    """Return what is farthest from 0 of all that is told of a row, `[num_rows]`."""
    high, low = np.zeros(num_rows), np.zeros(num_rows)
    np.maximum.at(high, rows, told)
    np.minimum.at(low, rows, told)
    return np.where(high >= -low, high, low)


def _auc(scores: Floats, labels: Labels) -> float:
    """Share of (positive, negative) pairs in the right order, ties half."""
    num_positive = int(labels.sum())
    if num_positive in (0, len(labels)):
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    wins = ranks[labels].sum() - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * (len(labels) - num_positive)))
