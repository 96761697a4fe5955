import numpy as np
import pytest

from pipelines.models.significance import (
    PerUser,
    bootstrap_interval,
    compare_with,
    holm,
    is_shown,
    paired_difference,
)

NO_USERS = PerUser.of(np.array([]))


def uneven(num_users: int, seed: int) -> PerUser:
    """Users with unequal numbers of rows."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, num_users)
    return PerUser(rng.random(num_users) * counts, counts.astype(float))


def test_the_interval_holds_the_mean_and_is_reproducible():
    values = np.random.default_rng(0).random(200)
    low, high = bootstrap_interval(values, seed=1)
    assert low < values.mean() < high
    assert bootstrap_interval(values, seed=1) == (low, high)
    assert bootstrap_interval(values, seed=2) != (low, high)
    assert bootstrap_interval(np.array([]), seed=1) == (0.0, 0.0)


def test_the_interval_is_as_wide_as_the_mean_is_uncertain():
    values = np.random.default_rng(0).normal(size=2_000)
    low, high = bootstrap_interval(values, seed=1)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2_000), rel=0.1)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.random(80), seed=n, num_resamples=400) for n in range(300)]
    assert np.mean([low <= 0.5 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.035)


def test_rows_of_one_user_are_drawn_together():
    """100 users with ten equal rows each are worth 100 observations, not 1,000."""
    own = np.random.default_rng(0).random(100)
    rows, users = np.repeat(own, 10), np.repeat(np.arange(100), 10)
    apart = bootstrap_interval(PerUser.grouped(None, rows, np.ones(1_000)), seed=1)
    together = bootstrap_interval(PerUser.grouped(users, rows, np.ones(1_000)), seed=1)
    assert together == pytest.approx(bootstrap_interval(own, seed=1))
    assert np.diff(together) > 2.5 * np.diff(apart)


def test_users_are_grouped_by_code_in_any_order_and_a_root_is_taken_at_the_end():
    sample = PerUser.grouped(np.array([7, 2, 7]), np.array([1.0, 4.0, 4.0]), np.ones(3), root=True)
    assert (sample.totals.tolist(), sample.counts.tolist()) == ([4, 5], [1, 2])
    assert sample.value == pytest.approx(np.sqrt(3))
    assert NO_USERS.value == 0


def test_a_planted_difference_is_found_with_its_size():
    rng = np.random.default_rng(0)
    base = rng.random(1_000)
    better = base + 0.05 + rng.normal(0, 0.1, 1_000)
    found = paired_difference(PerUser.of(better), PerUser.of(base), seed=1)
    assert found.low < 0.05 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(1_000), rel=0.1)
    assert found.p_value == pytest.approx(1 / 10_001)
    assert found.num_users == 1_000


def test_pairing_tells_apart_what_two_intervals_cannot():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    better = base + 0.01 + rng.normal(0, 0.02, 400)
    assert bootstrap_interval(better, seed=1)[0] < bootstrap_interval(base, seed=1)[1]
    assert paired_difference(PerUser.of(better), PerUser.of(base), seed=1).low > 0


def test_the_other_way_round_the_sign_changes_and_the_p_value_stays():
    first, second = uneven(50, seed=0), uneven(50, seed=1)
    there = paired_difference(first, second, seed=3)
    back = paired_difference(second, first, seed=3)
    assert (back.difference, back.p_value) == (-there.difference, there.p_value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert there == paired_difference(first, second, seed=3)


def test_without_a_difference_p_values_are_uniform():
    """Two systems that differ by noise alone: one in twenty p-values is below .05, half are below .5."""
    rng = np.random.default_rng(0)
    p_values = [_p_value_of_noise(rng, seed) for seed in range(400)]
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.065)


def _p_value_of_noise(rng: np.random.Generator, seed: int) -> float:
    counts = rng.integers(1, 5, 40).astype(float)
    first, second = (PerUser(rng.normal(size=40) * counts, counts) for _ in range(2))
    return paired_difference(first, second, seed=seed, num_resamples=2, num_swaps=299).p_value


def test_the_p_value_is_that_of_all_swaps_where_they_can_be_listed():
    """Of the eight swaps of three users, the two without and with all of them are as far apart as observed."""
    first, second = PerUser.of(np.array([1.0, 2.0, 4.0])), PerUser.of(np.zeros(3))
    assert paired_difference(first, second, seed=0).p_value == pytest.approx(2 / 8, abs=0.015)


def test_errors_are_compared_as_roots_of_means():
    better = PerUser(np.full(200, 0.81), np.ones(200), root=True)
    worse = PerUser(np.full(200, 1.0), np.ones(200), root=True)
    found = paired_difference(better, worse, seed=0)
    assert (found.difference, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert found.p_value < 0.001


def test_equal_systems_and_no_users_are_no_difference():
    same = uneven(20, seed=0)
    found = paired_difference(same, same, seed=0)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert paired_difference(NO_USERS, NO_USERS, seed=0).p_value == 1


def test_memory_stays_bounded_and_the_draws_the_same_size(monkeypatch):
    from pipelines.models import significance

    values = np.random.default_rng(0).random(50)
    monkeypatch.setattr(significance, "CELLS_AT_ONCE", 500)
    low, high = bootstrap_interval(values, seed=1, num_resamples=1_005)
    assert low < values.mean() < high


def test_other_users_are_refused():
    with pytest.raises(ValueError, match="3 users against 2; expected the same users"):
        paired_difference(PerUser.of(np.ones(3)), PerUser.of(np.ones(2)), seed=0)


def test_holm_corrects_for_the_number_of_comparisons():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_a_reference_is_compared_with_every_other_system():
    base = np.random.default_rng(0).random(300)
    noise = np.random.default_rng(1).normal(0, 0.1, 300)
    systems = {"worse": base - 0.1, "ours": base, "alike": base + noise - noise.mean()}
    found = compare_with("ours", {name: PerUser.of(values) for name, values in systems.items()}, seed=0)
    assert list(found) == ["worse", "alike"]
    assert found["worse"]["difference"] == pytest.approx(0.1)
    assert is_shown(found["worse"])
    assert not is_shown(found["alike"])
    assert found["worse"]["p_holm"] == pytest.approx(2 * found["worse"]["p_value"])
