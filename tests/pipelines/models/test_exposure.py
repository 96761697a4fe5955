import numpy as np
import pytest

from pipelines.models import exposure

SHARES = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])


def mask(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=bool)


def test_gini_is_zero_for_equal_exposure_and_by_hand_where_one_item_has_it_all():
    assert exposure.gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0)
    # Shown 0, 0, 0 and 4 times: (2 * 4 - 4 - 1) * 4 / (4 * 4).
    assert exposure.gini(np.array([[2], [2], [2], [2]]), 4) == pytest.approx(0.75)
    # Shown 0, 1, 1 and 2 times: (-1 * 1 + 1 * 1 + 3 * 2) / (4 * 4).
    assert exposure.gini(np.array([[0, 1], [0, 2]]), 4) == pytest.approx(6 / 16)
    assert exposure.gini(np.full((2, 2), -1), 4) == 0


def test_popularity_lift_compares_lists_with_histories():
    popularity = np.array([40.0, 10.0, 20.0, 30.0])
    seen = mask([0, 1, 0, 0], [0, 1, 1, 0])  # means 10 and 15
    top = np.array([[0, 2], [0, -1]])  # means 30 and 40
    assert exposure.popularity_lift(top, popularity, seen) == pytest.approx((30 + 40) / (10 + 15) - 1)


def test_popularity_lift_leaves_out_who_has_no_history_or_no_list():
    popularity = np.array([40.0, 10.0])
    seen = mask([0, 1], [0, 0], [0, 1])
    assert exposure.popularity_lift(np.array([[0], [0], [-1]]), popularity, seen) == pytest.approx(3)
    assert exposure.popularity_lift(np.array([[-1]]), popularity, mask([0, 1])) == 0


def test_miscalibration_is_stecks_divergence_worked_out_by_hand():
    seen, top = mask([1, 0, 1, 0]), np.array([[1, 2]])
    # History (1 + .5, .5) / 2 = (.75, .25); list (.5, 1 + .5) / 2 = (.25, .75), smoothed by .01 of the history.
    wanted, mixed = np.array([0.75, 0.25]), np.array([0.99 * 0.25 + 0.01 * 0.75, 0.99 * 0.75 + 0.01 * 0.25])
    expected = (wanted * np.log(wanted / mixed)).sum()
    np.testing.assert_allclose(exposure.miscalibration(top, seen, SHARES), [expected], rtol=1e-6)
    assert expected == pytest.approx(0.5361, abs=1e-4)


def test_a_list_like_the_history_is_calibrated_and_an_opposite_one_is_not():
    seen = mask([1, 0, 0, 0])
    assert exposure.miscalibration(np.array([[0, 0]]), seen, SHARES)[0] == pytest.approx(0)
    assert exposure.miscalibration(np.array([[1, -1]]), seen, SHARES)[0] == pytest.approx(np.log(100), rel=1e-6)


def test_users_without_categories_or_without_a_list_have_no_calibration():
    seen, top = mask([0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]), np.array([[0], [0], [-1]])
    assert np.isnan(exposure.miscalibration(top, seen, SHARES)).all()
    assert exposure.mean_miscalibration(top, seen, SHARES) == 0


def test_a_list_of_items_without_categories_is_as_wrong_as_can_be():
    assert exposure.miscalibration(np.array([[3]]), mask([1, 0, 0, 0]), SHARES)[0] == pytest.approx(np.log(100))


def test_histories_in_chunks_equal_histories_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    seen, top = rng.random((20, 4)) < 0.5, rng.integers(0, 4, (20, 2))
    whole = exposure.miscalibration(top, seen, SHARES)
    monkeypatch.setattr(exposure.metrics, "QUERIES_AT_ONCE", 7)
    np.testing.assert_array_equal(exposure.miscalibration(top, seen, SHARES), whole)


def test_every_name_is_measured_on_the_first_k():
    seen, top = mask([1, 0, 0, 0]), np.array([[0, 1]])
    found = exposure.beyond_accuracy(
        top, popularity=np.array([2.0, 1, 1, 0]), seen=seen, content=SHARES, shares=SHARES, k=1
    )
    assert list(found) == [f"{name}_at_1" for name in exposure.NAMES]
    assert found["coverage_at_1"] == 0.25
    assert found["miscalibration_at_1"] == pytest.approx(0)
    assert set(exposure.LOWER_IS_BETTER) < set(exposure.NAMES)
