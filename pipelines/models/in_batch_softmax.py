"""The in-batch softmax of a two-tower model and its gradient, worked out together."""

from typing import Any

import keras
from keras import ops

NEVER = -1e9  # log of how often a place without an item is drawn
SMALLEST = 1e-37  # share of a softmax that float32 still tells from none


def in_batch_softmax(
    queries: Any, items: Any, log_q: Any, negatives: Any, log_weights: Any, own: Any, *, temperature: float
) -> Any:
    """Return the mean loss of telling each query's own item from the other items of the batch.

    The same as `DiagonalSoftmax` over `InBatchScores`: log-Q correction, accidental hits left out. An item that stands
    in several rows is one negative, weighed by their number, so the matrix of scores is `[batch, num_negatives]`:
    where items repeat, a good part smaller than `[batch, batch]`. Written by hand because three matrix products and
    one softmax are all it takes, where the general operations and their gradients take about ten passes over the
    matrix; on a processor those are most of a step.

    Args:
        queries: unit vectors, `[batch, embedding_dim]`.
        items: unit vectors of each query's own item, `[batch, embedding_dim]`.
        log_q: log probability that a row's item is drawn, float32 `[batch]`.
        negatives: unit vectors of the batch's distinct items, `[num_negatives, embedding_dim]`.
        log_weights: log of the number of an item's rows less its `log_q`; `NEVER` where there is no item, float32
            `[num_negatives]`.
        own: place of each row's item among `negatives`, which is no negative of the row, int32 `[batch]`.
        temperature: divides the dot products.

    Returns:
        A scalar, float32; a row's loss is at most -log of `SMALLEST`. Only `queries`, `items` and `negatives` get a
        gradient.
    """

    def mean_loss(queries: Any, items: Any, negatives: Any) -> Any:
        num_rows = ops.cast(ops.shape(queries)[0], "float32")
        score = ops.sum(queries * items, axis=1) / temperature - log_q
        # Temperature and weights ride along in the product: no pass of their own over the matrix.
        scores = ops.matmul(
            ops.concatenate([queries / temperature, ops.ones_like(score)[:, None]], axis=1),
            ops.transpose(ops.concatenate([negatives, log_weights[:, None]], axis=1)),
        )
        # The row's own item takes the place that it has as a negative of the others.
        shares = ops.softmax(_with(scores, own, score), axis=1)
        own_share = ops.take_along_axis(shares, own[:, None], axis=1)
        others = _with(shares, own, ops.zeros_like(score))
        missed = own_share - 1
        to_queries = ops.matmul(others, negatives) + missed * items
        to_negatives = ops.matmul(ops.transpose(others), queries)
        scale = 1 / (temperature * num_rows)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
            upstream = args[0] if upstream is None else upstream
            factor = upstream * scale
            return factor * to_queries, factor * missed * queries, factor * to_negatives

        return -ops.mean(ops.log(ops.maximum(own_share, SMALLEST))), gradient

    return ops.custom_gradient(mean_loss)(*(ops.cast(side, "float32") for side in (queries, items, negatives)))


def _with(matrix: Any, places: Any, values: Any) -> Any:
    """Return `matrix` `[rows, columns]` with one place of each row changed, `places` and `values` `[rows]`."""
    if keras.backend.backend() == "jax":  # XLA fuses this with what comes before; a scatter would stand in between
        return ops.where(places[:, None] == ops.arange(matrix.shape[1])[None, :], values[:, None], matrix)
    rows = ops.arange(ops.shape(matrix)[0], dtype="int32")
    return ops.scatter_update(matrix, ops.stack([rows, places], axis=1), values)
