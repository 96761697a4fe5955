import numpy as np
import pytest

from pipelines.models.calibration import Reliability, fit_logistic, fit_order


def test_calibration_recovers_weights_and_shift():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(20_000, 2)) * 2
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(evidence @ [0.5, 0.2] - 1)))).astype(float)
    scales, shift = fit_logistic(evidence, labels, np.ones(20_000))
    np.testing.assert_allclose(scales, [0.5, 0.2], atol=0.04)
    assert shift == pytest.approx(-1, abs=0.05)


def test_evidence_that_speaks_against_itself_gets_no_weight_and_the_rest_is_fitted_without_it():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(20_000, 2))
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(evidence @ [-1.0, 0.8] - 1)))).astype(float)
    scales, shift = fit_logistic(evidence, labels, np.ones(20_000))
    assert scales[0] == 0
    alone, shift_alone = fit_logistic(evidence[:, 1:], labels, np.ones(20_000))
    np.testing.assert_allclose([scales[1], shift], [alone[0], shift_alone], rtol=1e-4)


@pytest.mark.parametrize("scale", [0.001, 1.0, 300.0])
def test_calibration_does_not_depend_on_the_scale_and_place_of_the_evidence(scale):
    rng = np.random.default_rng(0)
    score = rng.normal(size=5_000)
    labels = (rng.random(5_000) < 1 / (1 + np.exp(-(3 * score - 5)))).astype(float)
    evidence = np.stack([score * scale + 40 * scale, rng.normal(size=5_000)], axis=1)
    scales, shift = fit_logistic(evidence, labels, np.ones(5_000))
    probability = 1 / (1 + np.exp(-(evidence @ scales + shift)))
    assert scales[0] * scale == pytest.approx(3, abs=0.5)
    assert probability.mean() == pytest.approx(labels.mean(), abs=1e-4)


def test_calibration_survives_a_single_class():
    scales, shift = fit_logistic(np.array([[0.3], [-0.2]]), np.zeros(2), np.ones(2))
    assert np.isfinite([*scales, shift]).all()


def lists_of(weights: list[float], *, num_lists: int = 400, length: int = 50) -> tuple[np.ndarray, ...]:
    """Return evidence of lists, which candidate of each was used, and the lists' numbers; busy users use more."""
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(num_lists, length, len(weights)))
    scores = evidence @ weights + rng.gumbel(size=(num_lists, length))
    rank = np.argsort(np.argsort(-scores, axis=1), axis=1)
    labels = rank < np.where(np.arange(num_lists) % 2, 1, 2)[:, None]
    return evidence.reshape(-1, len(weights)), labels.ravel().astype(float), np.repeat(np.arange(num_lists), length)


def test_the_weights_of_an_order_are_those_that_drew_what_was_used():
    evidence, labels, queries = lists_of([0.9, 0.3])
    np.testing.assert_allclose(fit_order(evidence, labels, queries), [0.9, 0.3], atol=0.12)


@pytest.mark.parametrize("scale", [0.001, 300.0])
def test_the_weights_of_an_order_follow_the_scale_of_the_evidence(scale):
    evidence, labels, queries = lists_of([0.9, 0.3])
    found = fit_order(evidence * [scale, 1], labels, queries) * [scale, 1]
    np.testing.assert_allclose(found, fit_order(evidence, labels, queries), rtol=1e-3)


def test_what_differs_between_lists_alone_changes_no_weight_of_an_order():
    evidence, labels, queries = lists_of([0.9, 0.3])
    moved = evidence - 5.0 * (queries % 2 == 0)[:, None] * [1, 0]  # lower scores where more is used
    expected = fit_order(evidence, labels, queries)
    np.testing.assert_allclose(fit_order(moved, labels, queries), expected, rtol=0.02)
    pooled, _ = fit_logistic(moved, labels, np.ones(len(labels)))
    assert pooled[0] < 0.2 * expected[0]


def test_evidence_that_speaks_against_itself_has_no_weight_in_an_order():
    assert fit_order(*lists_of([-0.9, 0.3]))[0] == 0


def test_lists_of_which_all_or_nothing_was_used_say_nothing_of_an_order():
    evidence = np.random.default_rng(0).normal(size=(20, 2))
    labels, queries = np.repeat([0.0, 1.0], 10), np.repeat([3, 8], 10)
    np.testing.assert_array_equal(fit_order(evidence, labels, queries), [0, 0])


def test_reliability_sets_what_was_seen_beside_what_was_said():
    probability = np.array([0.1, 0.9, 0.1, 0.9])
    found = Reliability.of(probability, np.array([0, 1, 1, 1]), np.array([3, 1, 1, 1]), num_bins=2)
    np.testing.assert_allclose(found.predicted, [0.1, 0.9])
    np.testing.assert_allclose(found.observed, [0.25, 1.0])
    np.testing.assert_allclose(found.share, [4 / 6, 2 / 6])
    assert found.error == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1)


def test_true_probabilities_have_hardly_an_error_and_too_bold_ones_have():
    rng = np.random.default_rng(0)
    probability = rng.random(50_000)
    label, ones = rng.random(50_000) < probability, np.ones(50_000)
    assert Reliability.of(probability, label, ones).error < 0.01
    assert Reliability.of(np.where(probability > 0.5, 0.99, 0.01), label, ones).error > 0.2


def test_fewer_pairs_than_bins_are_a_bin_each():
    assert len(Reliability.of(np.array([0.2, 0.4]), np.ones(2), np.ones(2)).share) == 2
