"""The in-batch softmax of a two-tower model and its gradient, worked out together."""

from typing import Any

from keras import ops

HIGHEST = 80.0  # of an exponent: e^80 is far from float32's end, also summed over a batch
LOWEST_TEMPERATURE = 0.02  # below it scores lie so far apart that a whole row can underflow


def in_batch_softmax(
    queries: Any, items: Any, item_ids: Any, log_q: Any, *, temperature: float, num_sampled: int = 0
) -> Any:
    """Return the mean loss of telling each query's own item from the other items of the batch.

    The same as `DiagonalSoftmax` over `InBatchScores`: log-Q correction, accidental hits left out. Written by hand
    because three matrix products and two passes over `[batch, num_items]` are all it takes, where the general
    operations and their gradients take about ten passes; on a processor those are most of a step.

    Args:
        queries: unit vectors, `[batch, embedding_dim]`.
        items: unit vectors of each query's own item, then of further negatives, `[num_items, embedding_dim]`.
        item_ids: integers, `[num_items]`; another place with the same item is no negative.
        log_q: log probability that the item is drawn, float32 `[num_items]`.
        temperature: divides the dot products; at least `LOWEST_TEMPERATURE`.
        num_sampled: how many of the items are further negatives.

    Returns:
        A scalar, float32. Only `queries` and `items` get a gradient.

    Raises:
        ValueError: the temperature is lower.
    """
    if temperature < LOWEST_TEMPERATURE:
        raise ValueError(f"temperature={temperature}; expected at least {LOWEST_TEMPERATURE}")

    def of_queries(values: Any) -> Any:
        return values[:-num_sampled] if num_sampled else values

    def mean_loss(queries: Any, items: Any) -> Any:
        num_rows, own_items = ops.cast(ops.shape(queries)[0], "float32"), of_queries(items)
        own = ops.sum(queries * own_items, axis=1, keepdims=True) / temperature - of_queries(log_q)[:, None]
        # Each row's scores are taken relative to its own item's, so that its sum is at least 1; where that item is so
        # unlikely that others could overflow, relative to what none of them can exceed by more than `HIGHEST`.
        shift = ops.maximum(own, 1 / temperature + ops.max(-log_q) - HIGHEST)
        ones, item_ones = ops.ones_like(own), ops.ones_like(items[:, :1])
        # Temperature, correction and shift ride along in the product: no pass of their own over [batch, num_items].
        scores = ops.matmul(
            ops.concatenate([queries / temperature, ones, -shift], axis=1),
            ops.transpose(ops.concatenate([items, -log_q[:, None], item_ones], axis=1)),
        )
        others = ops.where(of_queries(item_ids)[:, None] == item_ids[None, :], 0.0, ops.exp(scores))
        own_share = ops.exp(own - shift)
        # The sum over a row rides along, too.
        pulled = ops.matmul(others, ops.concatenate([items, item_ones], axis=1))
        total = pulled[:, -1:] + own_share
        own_share = own_share / total
        to_queries = pulled[:, :-1] / total + (own_share - 1) * own_items
        to_own = (own_share - 1) * queries
        to_own = ops.pad(to_own, [[0, num_sampled], [0, 0]]) if num_sampled else to_own
        to_items = ops.matmul(ops.transpose(others), queries / total) + to_own
        scale = 1 / (temperature * num_rows)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            upstream = args[0] if upstream is None else upstream
            return upstream * scale * to_queries, upstream * scale * to_items

        return ops.mean(ops.log(total) + shift - own), gradient

    return ops.custom_gradient(mean_loss)(ops.cast(queries, "float32"), ops.cast(items, "float32"))
