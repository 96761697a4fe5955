"""Each loss against a value worked out by hand, its gradient, padding, and keras-rs where it has the same loss."""

from typing import Any

import numpy as np
import pytest

SCORES = np.array([[2.0, 1.0, 0.0, 9.0], [0.5, -0.5, 1.5, 0.0]], dtype=np.float32)
RELEVANCE = np.array([[1.2, 0.0, 1.8, -1.0], [0.0, 1.5, 0.0, 0.0]], dtype=np.float32)  # the 9.0 is padding
WEIGHT = np.array([[1.0, 3.0, 1.0, 7.0], [2.0, 1.0, 2.0, 2.0]], dtype=np.float32)
LOSSES = ("SoftmaxLoss", "PairwiseLogisticLoss", "PairwiseHingeLoss", "ListMLELoss")
E = np.exp


def loss(name: str, list_length: int = 4) -> Any:
    from pipelines.models import ranking_losses

    return getattr(ranking_losses, name)(list_length)


def values(name: str, scores: np.ndarray = SCORES, weight: np.ndarray = WEIGHT) -> np.ndarray:
    targets = np.stack([RELEVANCE.ravel(), weight.ravel()], axis=1)
    found = np.asarray(loss(name).call(targets, scores.reshape(-1, 1)))
    assert found.shape == (8,)
    return found.reshape(2, 4)


def softplus(x: float) -> float:
    return float(np.log1p(E(x)))


BY_HAND = {
    "SoftmaxLoss": [
        np.log(E(2) + 3 * E(1) + E(0)) - 2,
        np.log(E(2) + 3 * E(1) + E(0)) - 0,
        np.log(2 * E(0.5) + E(-0.5) + 2 * E(1.5) + 2 * E(0)) + 0.5,
    ],
    "PairwiseLogisticLoss": [softplus(1 - 2), softplus(1 - 0), np.mean([softplus(1), softplus(2), softplus(0.5)])],
    "PairwiseHingeLoss": [0.0, 2.0, np.mean([2.0, 3.0, 1.5])],
    "ListMLELoss": [
        np.log(E(2) + 3 * E(1)) - 2,  # drawn second: the one of relevance 1.8 is gone
        np.log(E(2) + 3 * E(1) + E(0)) - 0,
        np.log(2 * E(0.5) + E(-0.5) + 2 * E(1.5) + 2 * E(0)) + 0.5,
    ],
}


@pytest.mark.parametrize("name", LOSSES)
def test_positives_have_the_value_worked_out_by_hand_and_others_none(name):
    found = values(name)
    np.testing.assert_allclose(found[RELEVANCE > 0], BY_HAND[name], rtol=1e-5, atol=1e-6)
    assert (found[RELEVANCE <= 0] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_padding_changes_nothing(name):
    other = SCORES.copy()
    other[0, 3] = -40.0
    np.testing.assert_array_equal(values(name, other), values(name))


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_raises_what_was_used_and_lowers_what_was_not(name):
    import tensorflow as tf

    scores = tf.Variable(SCORES.reshape(-1, 1))
    targets = tf.constant(np.stack([RELEVANCE.ravel(), WEIGHT.ravel()], axis=1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(name).call(targets, scores))
    gradient = tape.gradient(total, scores).numpy().reshape(2, 4)
    assert gradient[0, 1] > 0  # not used, above one that was
    assert gradient[0, 2] < 0
    assert gradient[0, 3] == 0
    assert gradient[1, 1] < 0
    assert (gradient[1, [0, 2, 3]] > 0).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-5)  # only differences within a list count


@pytest.mark.parametrize("name", ["PairwiseLogisticLoss", "PairwiseHingeLoss"])
def test_whole_lists_are_judged_as_keras_rs_judges_them(name):
    import keras_rs

    used = np.where(RELEVANCE > 0, 1.0, RELEVANCE)
    expected = np.asarray(getattr(keras_rs.losses, name)(reduction=None)(used, SCORES))
    found = values(name, weight=np.ones_like(WEIGHT))
    np.testing.assert_allclose(found * (used == 0).sum(axis=1, keepdims=True), expected, rtol=1e-5, atol=1e-6)


def test_listmle_of_a_full_order_is_keras_rs_of_it_without_the_negatives_own_turn():
    import keras_rs

    relevance, scores = np.array([[1.9, 1.5, 1.1, 0.0]], np.float32), SCORES[1:]
    targets = np.stack([relevance.ravel(), np.ones(4, np.float32)], axis=1)
    found = np.asarray(loss("ListMLELoss").call(targets, scores.reshape(-1, 1)))
    expected = keras_rs.losses.ListMLELoss(reduction="sum")(relevance, scores)  # the last turn has one candidate: 0
    assert found.sum() == pytest.approx(float(np.asarray(expected)), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_targets_are_refused_and_the_config_survives(name):
    with pytest.raises(ValueError, match="relevance, weight"):
        loss(name).call(np.zeros((8, 1), np.float32), SCORES.reshape(-1, 1))
    config = loss(name, 7).get_config()
    assert type(loss(name)).from_config(config).get_config() == config
