import numpy as np
import pytest

from pipelines.models import frequencies
from pipelines.models.frequencies import StreamedFrequencies

NUM_ITEMS, BATCH = 60, 256


def planted(seed: int = 0) -> np.ndarray:
    """Return shares from a fifth down to less than a hundredth."""
    shares = 1 / (2.0 + np.random.default_rng(seed).permutation(NUM_ITEMS))
    return shares / shares.sum()


def draws(shares: np.ndarray, num_batches: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.choice(NUM_ITEMS, BATCH, p=shares).astype(np.int32) for _ in range(num_batches)]


def error(of: StreamedFrequencies, shares: np.ndarray) -> float:
    """Mean of how far off the logs are, which is what enters the loss."""
    return float(np.abs(np.log(of.shares(np.arange(NUM_ITEMS))) - np.log(shares)).mean())


def test_it_approaches_planted_frequencies_and_follows_a_drift():
    stream, before, after = StreamedFrequencies(1_024, 0.02), planted(0), planted(1)
    for items in draws(before, 200, seed=2):
        stream.observe(items)
    assert error(stream, before) < 0.12  # a moving average over 50 gaps: a tenth is what chance leaves
    assert error(stream, after) > 0.5
    for items in draws(after, 400, seed=3):
        stream.observe(items)
    assert error(stream, after) < 0.15


def test_one_label_is_enough_for_a_guess():
    stream = StreamedFrequencies(1_024, 0.01)
    stream.observe(np.array([5, 9, 9, 9, 9, 9, 9, 9, 9, 7], np.int32))
    np.testing.assert_allclose(stream.shares(np.array([5, 7])), [1, 0.1])
    assert 0.5 < stream.shares(np.array([9]))[0] < 1


def test_an_item_of_every_batch_is_not_taken_for_one_that_comes_once():
    stream, shares = StreamedFrequencies(64, 0.01), np.array([0.5, 0.02] + [0.48 / 58] * 58)
    for items in draws(shares, 60, seed=0):
        stream.observe(items)
    np.testing.assert_allclose(stream.shares(np.array([0])), 0.5, rtol=0.15)


@pytest.mark.parametrize("cut", [1, 300, 999])
def test_how_labels_are_cut_into_batches_does_not_matter(cut: int):
    items = np.random.default_rng(0).integers(0, 20, 1_000).astype(np.int32)
    whole, parts = StreamedFrequencies(128, 0.05), StreamedFrequencies(128, 0.05)
    whole.observe(items)
    for part in (items[:cut], items[cut:cut], items[cut:]):
        parts.observe(part)
    for name, values in whole.state.items():
        np.testing.assert_allclose(parts.state[name], values, rtol=1e-12)


def test_an_item_that_never_came_has_no_share():
    stream = StreamedFrequencies(4_096, 0.01)
    stream.observe(np.arange(10))
    assert stream.shares(np.array([11])).tolist() == [0]


def too_frequent() -> float:
    """Return the share of 200 equally frequent items that look half as frequent again, or more."""
    rng, stream = np.random.default_rng(0), StreamedFrequencies(1_024, 0.01)
    ids = rng.integers(0, 2**31, 200)
    stream.observe(ids[rng.integers(0, 200, 40_000)])
    return float((stream.shares(ids) > 1.5 / 200).mean())


def test_items_that_meet_in_one_hash_are_told_apart_by_the_other(monkeypatch: pytest.MonkeyPatch):
    assert too_frequent() < 0.05
    monkeypatch.setattr(frequencies, "MULTIPLIERS", frequencies.MULTIPLIERS[:1])
    assert too_frequent() > 0.1
