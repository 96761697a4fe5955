"""For each label, the position of the newest feature row of its key: the core of an as-of join, in memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.int64]

NONE = -1
NUMBER_BITS = 63


class Ties(Exception):
    """Feature rows share their key and moment: which of them is seen has to be decided before."""


def newest_rows(keys: Numbers, moments: Numbers, label_keys: Numbers, label_moments: Numbers) -> Numbers:
    """Return for each label the row of its key with the latest moment that is not after the label's, or `NONE`.

    A key and a moment are made one number, because numbers sort several times faster than pairs. The two sides are
    sorted beside each other, and the sorted labels are looked for among the sorted rows in one pass.

    Args:
        keys: `[rows]`, from 0 on.
        moments: `[rows]`, when a row is known.
        label_keys: `[labels]`, from 0 on.
        label_moments: `[labels]`.

    Raises:
        Ties: two rows have the same key and moment.
    """
    newest = np.full(len(label_keys), NONE)
    if not (len(keys) and len(label_keys)):
        return newest
    moments, label_moments, bits = _short_moments(max(keys.max(), label_keys.max()), moments, label_moments)
    with ThreadPoolExecutor(1, thread_name_prefix="labels") as thread:
        sorting = thread.submit(_sorted, (label_keys << bits) | label_moments)
        order, rows = _sorted((keys << bits) | moments)
        if np.any(rows[1:] == rows[:-1]):
            raise Ties
        label_order, labels = sorting.result()
    found = np.searchsorted(rows, labels, side="right") - 1
    same_key = (found >= 0) & ((rows[found] ^ labels) >> bits == 0)
    newest[label_order] = np.where(same_key, order[found], NONE)
    return newest


def _sorted(numbers: Numbers) -> tuple[Numbers, Numbers]:
    order = np.argsort(numbers)
    return order, numbers[order]


def _short_moments(largest_key: int, moments: Numbers, label_moments: Numbers) -> tuple[Numbers, Numbers, int]:
    """Return both sides' moments as small numbers of the same order, and the bits that these need.

    They are counted from the first row's, or, where that leaves no room for the keys, replaced by their places among
    the rows' moments in order. A label before the first row sees nothing, wherever before.
    """
    first, last = int(moments.min()), int(moments.max())
    bits = (last - first + 1).bit_length()
    if bits + int(largest_key).bit_length() <= NUMBER_BITS:
        # From 1 on: 0 is before the first row.
        return moments - (first - 1), np.clip(label_moments, first - 1, last) - (first - 1), bits
    with ThreadPoolExecutor(1, thread_name_prefix="labels") as thread:
        sorting = thread.submit(_sorted, label_moments)
        order, in_time = _sorted(moments)
        new = np.concatenate([[True], in_time[1:] != in_time[:-1]])
        label_order, labels_in_time = sorting.result()
    places, label_places = np.empty_like(moments), np.empty_like(label_moments)
    distinct = np.cumsum(new)
    places[order] = distinct
    before = np.searchsorted(in_time, labels_in_time, side="right")
    label_places[label_order] = np.concatenate([[0], distinct])[before]
    return places, label_places, int(distinct[-1]).bit_length()
