import numpy as np

from pipelines.models.batches import EarlierStates, Labels, RetrievalSteps
from pipelines.models.negatives import Negatives, OwnItems
from pipelines.models.periods import Periods

USERS = np.array([7, 8, 7, 7, 8, 7])


def states(share: float, *, longest: int = 9) -> EarlierStates:
    return EarlierStates.of(USERS, share=share, longest=longest)


def draws(of: EarlierStates, row: int) -> set[int]:
    return set(of.draw(np.full(500, row), np.random.default_rng(0)).tolist())


def test_without_a_share_every_row_is_its_own_state():
    rows = np.arange(len(USERS))
    np.testing.assert_array_equal(states(0.0).draw(rows, np.random.default_rng(0)), rows)


def test_a_state_is_never_of_another_user_or_later():
    assert draws(states(1.0), 5) == {0, 2, 3, 5}
    assert draws(states(1.0), 4) == {1, 4}
    assert draws(states(1.0), 0) == {0}


def test_a_state_is_at_most_so_many_labels_back():
    assert draws(states(1.0, longest=1), 5) == {3, 5}


def test_log_q_is_the_share_of_the_items_own_period():
    periods = Periods.of(np.array([5, 5, 5, 6, 6, 6, 6, 5]), num_periods=2, batch_size=4)
    assert periods.edges.tolist() == [0, 4, 8]
    np.testing.assert_allclose(np.exp(periods.log_q), [0.75, 0.75, 0.75, 0.25, 0.75, 0.75, 0.75, 0.25])


def test_a_batch_is_of_one_period():
    batches = Periods.of(np.zeros(100, int), num_periods=4, batch_size=5).batches(5, np.random.default_rng(0))
    assert sorted(batches.ravel().tolist()) == list(range(100))
    assert all(len(set(rows // 25)) == 1 for rows in batches)
    assert [rows[0] // 25 for rows in batches] != sorted(rows[0] // 25 for rows in batches)


def test_no_period_is_shorter_than_a_batch():
    assert Periods.of(np.zeros(100, int), num_periods=50, batch_size=40).edges.tolist() == [0, 50, 100]
    assert Periods.of(np.zeros(3, int), num_periods=50, batch_size=40).edges.tolist() == [0, 3]


def steps(seed: int = 0, *, filled: bool = True, num_sampled: int = 0, used: OwnItems | None = None) -> RetrievalSteps:
    rows = np.arange(6)
    periods = Periods.of(rows, num_periods=2, batch_size=2)
    negatives = Negatives.of(rows, periods, num_sampled=num_sampled, stream=None)
    labels = Labels.of({"user": rows}, {"item": rows})
    return RetrievalSteps(labels, states(0.0), negatives, batch_size=2, seed=seed, filled=filled, used=used)


def items(seed: int = 0, epoch: int = 1, start: int = 0) -> list[int]:
    return np.concatenate([step["item"] for (step,) in steps(seed).of(epoch, start)[1]]).tolist()


def test_an_epoch_has_every_row_of_whole_batches_once_and_queries_beside_their_items():
    count, epoch = steps().of(1, 0)
    taken = [step for (step,) in epoch]
    assert count == len(taken) == 2
    assert len(set(items())) == 4
    for step in taken:
        np.testing.assert_array_equal(step["user"], step["item"])


def test_seed_and_epoch_decide_the_order_and_a_later_start_goes_on_in_it():
    assert items(1) == items(1)
    assert items(1) != items(2)
    assert items(1, epoch=1) != items(1, epoch=2)
    assert items(1, start=1) == items(1)[2:]


def test_a_step_that_names_its_rows_gives_the_same_inputs_where_they_lie():
    own = {"user", "item", "log_q", "own", "negative_columns", "negative_counts"}
    for num_sampled, more in ((0, set()), (3, {"sampled_item", "sampled_log_q"})):
        named_steps = steps(filled=False, num_sampled=num_sampled).of(1, 0)[1]
        for (step,), (named,) in zip(steps(num_sampled=num_sampled).of(1, 0)[1], named_steps, strict=True):
            labels = steps().labels
            found = labels.inputs(labels.arrays, named, lambda values, rows: values[rows])
            assert set(found) == set(step) == own | more
            for name, values in step.items():
                np.testing.assert_array_equal(found[name], values)


def test_sampled_items_are_columns_after_those_of_the_rows():
    for (step,) in steps(num_sampled=3).of(1, 0)[1]:
        assert step["sampled_item"].shape == step["sampled_log_q"].shape == (3,)
        columns = np.concatenate([step["item"], step["sampled_item"]])
        there = step["negative_counts"] > 0
        assert sorted(columns[step["negative_columns"][there]]) == np.unique(columns).tolist()
        assert step["negative_counts"].sum() == 5


def test_items_of_the_user_are_named_where_they_are_asked_for():
    users, ids = USERS, np.arange(6)
    for (step,) in steps(num_sampled=3, used=OwnItems(users, ids)).of(1, 0)[1]:
        columns = np.concatenate([step["item"], step["sampled_item"]])
        np.testing.assert_array_equal(step["used"], users[step["item"]][:, None] == users[columns][None, :])
