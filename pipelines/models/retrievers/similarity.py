"""Similarities between the rows of sparse matrices, the most similar kept, some hundred rows at a time."""

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError
from pipelines.models.sequences import Sequences

Similarity = Literal["cosine", "pearson", "adjusted_cosine"]
ROWS_AT_ONCE = 512


class Nearest(Protocol):
    """Finds the most similar others of each row: `nearest`, or the same on Spark."""

    def __call__(
        self,
        rows: Any,
        others: Any,
        *,
        common: tuple[Any, Any],
        num_nearest: int,
        shrinkage: float,
        same: NDArray[Any],
    ) -> Any:
        """See `nearest`."""


def interaction_values(train: Sequences, similarity: Similarity, *, of_users: bool) -> Any:
    """Return users by items as similarity compares them, CSR float32 `[num_users, num_items]`.

    Args:
        train: histories; `values` are needed but for cosine.
        similarity: cosine compares ones; Pearson, values less the mean of what is compared (users or items); adjusted
            cosine, values less the mean of the other.
        of_users: whether users are compared, else items.

    Raises:
        TrainingError: values are needed and there are none.
    """
    if similarity == "cosine":
        return train.matrix()
    if train.values is None:
        raise TrainingError(
            f"similarity {similarity!r} compares values, such as ratings, and these interactions have none; expected a "
            "source with values, or similarity cosine"
        )
    if (similarity == "pearson") == of_users:
        return train.matrix(less_user_mean(train))
    return train.matrix(train.values - item_means(train)[train.items])


def less_user_mean(rows: Sequences) -> NDArray[Any]:
    """Return the value of each interaction less the mean of its row, `[num_interactions]`; `values` must be there."""
    values = np.asarray(rows.values)
    return np.asarray(values - _means(rows.rows, values, len(rows))[rows.rows])


def item_means(train: Sequences) -> NDArray[np.float32]:
    """Return the mean value of each item, `[num_items]`; zeros for an item without one, or where there are none."""
    if train.values is None:
        return np.zeros(train.num_items, dtype=np.float32)
    return _means(train.items, train.values, train.num_items).astype(np.float32)


def _means(groups: NDArray[Any], values: Any, size: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(groups, values, size) / np.maximum(np.bincount(groups, minlength=size), 1))


def unit_rows(matrix: Any) -> Any:
    """Return a CSR matrix with rows of unit length; a row of zeros stays one."""
    import scipy.sparse as sp

    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return (sp.diags(1 / np.where(lengths > 0, lengths, 1)) @ matrix).tocsr().astype(np.float32)


def nearest(
    rows: Any, others: Any, *, common: tuple[Any, Any], num_nearest: int, shrinkage: float, same: NDArray[Any]
) -> Any:
    """Return the most similar others of each row, CSR float32 `[num_rows, num_others]`; only positive ones.

    Of equal similarities the other with the smaller number is kept.

    Args:
        rows: unit rows, CSR.
        others: unit rows, CSR with as many columns.
        common: rows and others as ones, for counting what they have in common.
        num_nearest: others kept a row.
        shrinkage: a similarity is multiplied by `n / (n + shrinkage)`, with n columns in common.
        same: for each row the other that is itself and not to be found, -1 where there is none, `[num_rows]`.
    """
    import scipy.sparse as sp

    found = []
    for start in range(0, rows.shape[0], ROWS_AT_ONCE):
        chosen = slice(start, start + ROWS_AT_ONCE)
        similar = (rows[chosen] @ others.T).toarray()
        if shrinkage:
            shared = (common[0][chosen] @ common[1].T).toarray()
            similar *= shared / (shared + shrinkage)
        own = np.flatnonzero(same[chosen] >= 0)
        similar[own, same[chosen][own]] = 0
        found.append(sp.csr_matrix(_only_largest(similar, num_nearest)))
    if not found:
        return (rows @ others.T).tocsr()
    return sp.vstack(found).tocsr().astype(np.float32)


def _only_largest(similar: Any, count: int) -> Any:
    """Return the matrix with all but the largest positive values of each row set to zero."""
    kept = np.maximum(similar, 0)
    if count < kept.shape[1]:
        order = np.argsort(-kept, axis=1, kind="stable")
        np.put_along_axis(kept, order[:, count:], 0, axis=1)
    return kept
