"""The weighted least squares of one side of a factor model, for all its rows at once."""

from typing import Any

import numpy as np

from pipelines.models.ratings.base import Floats


def normal_equations(ratings: Any, others: Floats) -> tuple[Floats, Floats]:
    """Return left and right side of each row's least squares, given the factors of the other side.

    A row's unknowns are its bias and its factors; what is explained is a rating less the other side's bias.

    Args:
        ratings: centered ratings, CSR `[num_rows, num_others]`; an explicit zero is a rating.
        others: bias and factors of the other side, `[num_others, 1 + num_factors]`.

    Returns:
        `[num_rows, 1 + num_factors, 1 + num_factors]` and `[num_rows, 1 + num_factors]`.
    """
    size = others.shape[1]
    design = others.copy()
    design[:, 0] = 1
    indicator, explained = ratings.copy(), ratings.copy()
    indicator.data = np.ones(len(ratings.data))
    explained.data = ratings.data - others[ratings.indices, 0]
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(others), size * size)
    return (indicator @ squares).reshape(-1, size, size), explained @ design
