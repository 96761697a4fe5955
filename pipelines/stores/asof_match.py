"""For each label, the position of the newest feature row of its key: the core of an as-of join, in memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.int64]

NONE = -1
NUMBER_BITS = 63
NUM_THREADS = 2


class Ties(Exception):
    """Feature rows share their key and moment: which of them is seen has to be decided before."""


def newest_rows(keys: Numbers, moments: Numbers, label_keys: Numbers, label_moments: Numbers) -> Numbers:
    """Return for each label the row of its key with the latest moment that is not after the label's, or `NONE`.

    A key and a moment are made one number, because numbers sort several times faster than pairs. The two sides are
    sorted beside each other, and the sorted labels are looked for among the sorted rows in passes of their own.

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
    moments, label_moments, start, bits = _short_moments(max(keys.max(), label_keys.max()), moments, label_moments)
    with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="match") as threads:
        sorting = threads.submit(_sorted, label_keys, label_moments, start, bits)
        order, rows = _sorted(keys, moments, start, bits)
        if np.any(rows[1:] == rows[:-1]):
            raise Ties
        label_order, labels = sorting.result()

        def find(part: slice) -> None:
            found = np.searchsorted(rows, labels[part], side="right") - 1
            same_key = (found >= 0) & ((rows[found] ^ labels[part]) >> bits == 0)
            newest[label_order[part]] = np.where(same_key, order[found], NONE)

        size = -(-len(labels) // NUM_THREADS)
        list(threads.map(find, (slice(start, start + size) for start in range(0, len(labels), size))))
    return newest


def _sorted(keys: Numbers, moments: Numbers, start: int, bits: int) -> tuple[Numbers, Numbers]:
    numbers = keys << bits
    numbers += moments
    numbers -= start
    order = np.argsort(numbers)
    return order, numbers[order]


def _short_moments(largest_key: int, moments: Numbers, label_moments: Numbers) -> tuple[Numbers, Numbers, int, int]:
    """Return both sides' moments as numbers from a start on, this start, and the bits that such a number needs.

    They are what they were, from just before the first row on, or, where that leaves no room for the keys, the places
    that they have among the rows' moments. A label before the first row sees nothing, wherever before.
    """
    first, last = int(moments.min()), int(moments.max())
    bits = (last - first + 1).bit_length()
    if bits + int(largest_key).bit_length() <= NUMBER_BITS:
        return moments, np.clip(label_moments, first - 1, last), first - 1, bits
    in_time, rows = np.unique(moments, return_inverse=True)
    return rows, np.searchsorted(in_time, label_moments, side="right") - 1, -1, len(in_time).bit_length()
