import numpy as np

from pipelines.models.distinct_items import DistinctItems


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_they_are_the_distinct_items_of_each_batch_and_how_often_they_are_there():
    batches = np.random.default_rng(0).integers(0, 30, (5, 100))
    distinct = DistinctItems.of(batches, rng())
    assert distinct.columns.shape == (5, 64)
    for batch, own, columns, counts in zip(batches, distinct.own, distinct.columns, distinct.counts, strict=True):
        found = counts > 0
        np.testing.assert_array_equal(batch[columns[own]], batch)
        known, times = np.unique(batch, return_counts=True)
        np.testing.assert_array_equal(batch[columns[found]], known)
        np.testing.assert_array_equal(counts[found], times)


def test_any_column_stands_for_its_item_as_often_as_another():
    """The earliest alone would have the earliest features: negatives would be told from positives by their age."""
    batches = np.tile([4, 9, 4, 4], (3_000, 1))
    standing = DistinctItems.of(batches, rng()).columns[:, 0]
    times = np.bincount(standing, minlength=4)
    np.testing.assert_allclose(times[[0, 2, 3]], 1_000, atol=100)
    assert times[1] == 0
    np.testing.assert_array_equal(standing, DistinctItems.of(batches, rng()).columns[:, 0])
