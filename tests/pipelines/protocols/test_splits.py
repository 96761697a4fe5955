"""Splits against files small enough to split by hand."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.models.sequences import Sequences
from pipelines.protocols.files import Events
from pipelines.protocols.splits import (
    five_core_items,
    global_time,
    held_out,
    leave_one_out,
    stratified,
    tensorflow_shuffled,
    tfds_order,
)


def rows_of(sequences: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(sequences.items, sequences.offsets[1:-1])]


def timed() -> Events:
    """User 0 at 1, 2, 9, 9; user 1 at 3, 4; user 2 at 8, 10: in the file's order, not in that of time."""
    times = np.array([9, 1, 9, 2, 4, 3, 8, 10])
    users = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    return Events(users, np.array([5, 1, 3, 2, 1, 4, 0, 2]), num_users=3, num_items=6, times=times)


def test_leave_one_out_asks_for_the_last_item_and_those_of_one_second_keep_the_order_of_the_file():
    task = leave_one_out(timed().sequences())
    assert rows_of(task.train) == [[1, 2, 5], [4], [0]]
    assert rows_of(task.queries) == [[1, 2, 5], [4], [0]]
    assert rows_of(task.relevant) == [[3], [1], [2]]
    assert task.queries.moments is not None
    assert task.queries.moments.tolist() == [9, 4, 10]


def test_leave_one_out_asks_nothing_of_users_with_a_single_item():
    single = Events(np.array([0, 1, 1]), np.array([0, 1, 2]), num_users=2, num_items=3)
    task = leave_one_out(single.sequences())
    assert task.queries.users.tolist() == [1]
    assert rows_of(task.relevant) == [[2]]


def test_global_time_learns_from_before_the_cut_and_tells_a_query_all_before_its_item():
    task = global_time(timed().sequences(), 0.5)  # the cut is at 6
    assert rows_of(task.train) == [[1, 2], [4, 1], []]
    assert rows_of(task.queries) == [[1, 2, 5], [0]]
    assert rows_of(task.relevant) == [[3], [2]]
    assert task.queries.users.tolist() == [0, -1]  # nothing of user 2 is before the cut


def test_successive_asks_for_each_item_after_the_cut_in_turn():
    task = global_time(timed().sequences(), 0.5, successive=True)
    assert rows_of(task.queries) == [[1, 2], [1, 2, 5], [], [0]]
    assert rows_of(task.relevant) == [[5], [3], [0], [2]]
    assert task.queries.moments is not None
    assert task.queries.moments.tolist() == [9, 9, 8, 10]


def test_a_query_is_asked_under_the_conditions_of_its_moment():
    rows = replace(timed(), times=timed().times * 7_200).sequences()
    assert rows.contexts is not None
    assert rows.contexts.codes[rows.rows == 0, 0].tolist() == [0, 0, 3, 3]  # at 2, 4, 18 and 18 o'clock
    for successive, dayparts in ((True, [3, 3, 2, 3]), (False, [3, 3])):
        asked_in = global_time(rows, 0.5, successive=successive).queries.asked_in
        assert asked_in is not None
        assert asked_in.codes[:, 0].tolist() == dayparts
    asked_in = leave_one_out(rows).queries.asked_in
    assert asked_in is not None
    assert asked_in.codes[:, 0].tolist() == [3, 1, 3]


def test_held_out_asks_for_all_of_a_users_test_items_at_once():
    test = np.array([True, False, True, False, False, True, False, False])
    task = held_out(timed(), test, remove_seen=False)
    assert rows_of(task.train) == [[1, 2], [1], [0, 2]]
    assert rows_of(task.queries) == [[1, 2], [1]]
    assert rows_of(task.relevant) == [[5, 3], [4]]
    assert not task.remove_seen


def test_stratified_holds_out_the_last_quarter_of_each_users_random_numbers():
    users = np.array([0, 1, 0, 1, 0, 1, 0, 1, 1])
    keys = np.random.RandomState(42).rand(len(users))
    held = stratified(Events(users, np.zeros(9, int), num_users=2, num_items=1), 0.75, 42)
    for user, left_out in ((0, 1), (1, 2)):  # 4 and 5 interactions: 3 of each are at most three quarters
        own = np.flatnonzero(users == user)
        assert set(np.flatnonzero(held[own])) == set(np.argsort(keys[own])[-left_out:])


def test_five_core_drops_rare_items_and_closes_the_gaps_of_codes():
    events = Events(np.arange(12), np.array([2] * 5 + [0] * 5 + [1, 3]), num_users=12, num_items=4)
    kept = five_core_items(events)
    assert kept.items.tolist() == [1] * 5 + [0] * 5
    assert kept.num_items == 2


def test_tensorflow_datasets_order_and_shuffle_are_permutations_that_do_not_change():
    assert tfds_order(6).tolist() == [5, 4, 0, 3, 1, 2]
    shuffled = tensorflow_shuffled(6, global_seed=42)
    assert sorted(shuffled.tolist()) == list(range(6))
    assert shuffled.tolist() == tensorflow_shuffled(6, global_seed=42).tolist()
    assert shuffled.tolist() != tensorflow_shuffled(6).tolist()


def test_files_that_are_not_there_are_named(tmp_path):
    from pipelines.errors import SourceError
    from pipelines.protocols.files import read_ml_1m

    with pytest.raises(SourceError, match=r"ratings\.dat cannot be read"):
        read_ml_1m(tmp_path)
