import numpy as np
import pytest

BATCH, DIM = 12, 5


def unit(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(BATCH, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


ITEMS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], np.int32)


def losses(temperature: float) -> list[list[np.ndarray]]:
    """Loss and gradients by hand, and by the layers it is the same as."""
    import tensorflow as tf

    from pipelines.models.distinct_items import DistinctItems
    from pipelines.models.in_batch_softmax import NEVER, in_batch_softmax
    from pipelines.models.layers.in_batch_scores import InBatchScores
    from pipelines.models.losses import DiagonalSoftmax

    draws = np.random.default_rng(2).uniform(1e-6, 0.2, 10)
    log_q = np.log(draws).astype(np.float32)[ITEMS]
    distinct = DistinctItems.of(ITEMS[None], np.random.default_rng(0))
    rows, counts = distinct.columns[0], distinct.counts[0]
    weights = np.where(counts, np.log(np.maximum(counts, 1)) - log_q[rows], NEVER).astype(np.float32)
    found = []
    for by_hand in (True, False):
        # Equal items have equal vectors: then an item of several rows is one negative of their number.
        queries, table = tf.Variable(unit(0)), tf.Variable(unit(1))
        with tf.GradientTape() as tape:
            items = tf.gather(table, ITEMS)
            if by_hand:
                negatives, own = tf.gather(items, rows), tf.constant(distinct.own[0])
                loss = in_batch_softmax(queries, items, log_q, negatives, weights, own, temperature=temperature)
            else:
                logits = InBatchScores(temperature)([queries, items, tf.constant(ITEMS), tf.constant(log_q)])
                loss = tf.reduce_mean(DiagonalSoftmax().call(None, logits))
            loss *= 3.0
        gradients = (tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, [queries, table]))
        found.append([value.numpy() for value in (loss, *gradients)])
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.02, 0.005])
def test_it_is_the_softmax_of_the_layers_and_so_is_its_gradient(temperature: float):
    by_hand, by_layers = losses(temperature)
    if temperature > 0.01:
        np.testing.assert_allclose(by_hand[0], by_layers[0], rtol=2e-4)
    assert np.isfinite(by_hand[0])  # below, the loss of a row is as large as float32's smallest share lets it be
    for mine, other in zip(by_hand[1:], by_layers[1:], strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5 * np.abs(other).max())
