import numpy as np
import pytest

BATCH, DIM = 12, 5


def unit(seed: int, num_rows: int = BATCH) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(num_rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def losses(temperature: float, num_sampled: int = 0) -> list[list[np.ndarray]]:
    """Loss and gradients by hand, and by the layers it is the same as; so many items come after the queries' own."""
    import tensorflow as tf

    from pipelines.models.in_batch_softmax import in_batch_softmax
    from pipelines.models.layers.in_batch_scores import InBatchScores
    from pipelines.models.losses import DiagonalSoftmax

    num_items = BATCH + num_sampled
    ids = tf.constant(np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3][:num_items], np.int32))
    log_q = tf.constant(np.log(np.random.default_rng(2).uniform(1e-6, 0.2, num_items)).astype(np.float32))
    found = []
    for fused in (True, False):
        queries, items = tf.Variable(unit(0)), tf.Variable(unit(1, num_items))
        with tf.GradientTape() as tape:
            if fused:
                loss = in_batch_softmax(queries, items, ids, log_q, temperature=temperature, num_sampled=num_sampled)
            else:
                logits = InBatchScores(temperature)([queries, items, ids, log_q])
                loss = tf.reduce_mean(DiagonalSoftmax().call(None, logits))
            loss *= 3.0
        found.append([value.numpy() for value in (loss, *tape.gradient(loss, [queries, items]))])
    return found


@pytest.mark.parametrize("num_sampled", [0, 6])
@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.02])
def test_it_is_the_softmax_of_the_layers_and_so_is_its_gradient(temperature: float, num_sampled: int):
    by_hand, by_layers = losses(temperature, num_sampled)
    for mine, other in zip(by_hand, by_layers, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5 * np.abs(other).max())


def test_a_temperature_at_which_rows_underflow_is_refused():
    with pytest.raises(ValueError, match=r"temperature=0\.01; expected at least 0\.02"):
        losses(0.01)
