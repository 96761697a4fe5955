from dataclasses import replace

import numpy as np
import pytest

from pipelines.models.sequences import Sequences


@pytest.fixture
def rows() -> Sequences:
    """User 0 did 5, 3, 5; user 1 nothing; user 2 did 4."""
    users, items = np.array([0, 2, 0, 0]), np.array([5, 4, 3, 5])
    grouped = Sequences.of(
        users, items, num_users=3, num_items=6, times=np.array([10, 20, 30, 40]), values=np.array([1, 2, 3, 4])
    )
    return replace(grouped, moments=np.array([50, 60, 70]), segments=np.array([0, 1, -1], np.int32))


def test_grouping_keeps_the_order_of_each_user(rows):
    assert len(rows) == 3
    assert rows.items.tolist() == [5, 3, 5, 4]
    assert rows.times.tolist() == [10, 30, 40, 20]
    assert rows.values.tolist() == [1, 3, 4, 2]
    assert rows.offsets.tolist() == [0, 3, 3, 4]
    assert (rows.items.dtype, rows.values.dtype, rows.times.dtype) == (np.int32, np.float32, np.int64)


def test_ages_count_from_the_newest(rows):
    assert rows.ages.tolist() == [2, 1, 0, 0]
    assert rows.rows.tolist() == [0, 0, 0, 2]
    assert rows.lengths.tolist() == [3, 0, 1]


def test_taken_rows_come_in_the_order_asked_for_and_may_repeat(rows):
    taken = rows.take(np.array([2, 0, 2, 1]))
    assert taken.lengths.tolist() == [1, 3, 1, 0]
    assert taken.items.tolist() == [4, 5, 3, 5, 4]
    assert taken.times.tolist() == [20, 10, 30, 40, 20]
    assert taken.users.tolist() == [2, 0, 2, 1]
    assert taken.moments.tolist() == [70, 50, 70, 60]
    assert taken.segments.tolist() == [-1, 0, -1, 1]
    assert len(rows.take(np.zeros(0, np.int64))) == 0


def test_keeping_some_interactions_keeps_every_row(rows):
    kept = rows.keep(rows.items == 5)
    assert kept.lengths.tolist() == [2, 0, 0]
    assert kept.values.tolist() == [1, 4]
    assert kept.users.tolist() == [0, 1, 2]


def test_without_last_asks_at_the_moment_of_what_was_taken_away(rows):
    shorter, targets = rows.without_last()
    assert targets.tolist() == [5, -1, 4]
    assert shorter.items.tolist() == [5, 3]
    assert shorter.lengths.tolist() == [2, 0, 0]
    assert shorter.moments.tolist() == [40, 0, 20]
    assert rows.lengths.tolist() == [3, 0, 1]


def test_without_last_of_nothing_is_nothing():
    empty = Sequences.of(np.zeros(0, int), np.zeros(0, int), num_users=2, num_items=3)
    shorter, targets = empty.without_last()
    assert targets.tolist() == [-1, -1]
    assert shorter.lengths.tolist() == [0, 0]
    assert shorter.moments is None


def test_padding_is_on_the_left_and_keeps_the_newest(rows):
    assert rows.padded(2).tolist() == [[3, 5], [-1, -1], [-1, 4]]
    assert rows.padded(4, rows.values, fill=0).tolist() == [[0, 1, 3, 4], [0, 0, 0, 0], [0, 0, 0, 2]]


def test_a_matrix_counts_a_repeated_item_once_and_the_newest_weight(rows):
    dense = rows.matrix(rows.values).toarray()
    assert dense.tolist() == [[0, 0, 0, 3, 0, 4], [0] * 6, [0, 0, 0, 0, 2, 0]]
    assert rows.matrix().toarray().sum() == 3
    assert rows.matrix().dtype == np.float32


def test_seen_is_what_a_row_holds(rows):
    assert np.argwhere(rows.seen()).tolist() == [[0, 3], [0, 5], [2, 4]]
