import numpy as np

from pipelines.models.distinct_items import DistinctItems


def test_they_are_the_distinct_items_of_each_batch_and_how_often_they_are_there():
    batches = np.random.default_rng(0).integers(0, 30, (5, 100))
    distinct = DistinctItems.of(batches)
    assert distinct.columns.shape == (5, 64)
    for batch, own, rows, counts in zip(batches, distinct.own, distinct.columns, distinct.counts, strict=True):
        found = counts > 0
        np.testing.assert_array_equal(batch[rows[own]], batch)
        known, times = np.unique(batch, return_counts=True)
        np.testing.assert_array_equal(batch[rows[found]], known)
        np.testing.assert_array_equal(counts[found], times)
