import numpy as np

from pipelines.models.batches import EarlierStates, retrieval_batches
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
    assert sorted(np.concatenate(batches).tolist()) == list(range(100))
    assert all(len(set(rows // 25)) == 1 for rows in batches)
    assert [rows[0] // 25 for rows in batches] != sorted(rows[0] // 25 for rows in batches)


def test_no_period_is_shorter_than_a_batch():
    assert Periods.of(np.zeros(100, int), num_periods=50, batch_size=40).edges.tolist() == [0, 50, 100]
    assert Periods.of(np.zeros(3, int), num_periods=50, batch_size=40).edges.tolist() == [0, 3]


def epoch(seed: int = 0, *, num_sampled: int = 0, start: int = 0, own: OwnItems | None = None) -> list:
    rows, rng = np.arange(6), np.random.default_rng(seed)
    negatives = Negatives.of(rows, Periods.of(rows, num_periods=2, batch_size=1), num_sampled=num_sampled, stream=None)
    sides = {"user": rows}, {"item": rows}
    return list(retrieval_batches(*sides, states(0.0), negatives, batch_size=1, rng=rng, start=start, own=own))


def test_an_epoch_has_every_row_once_and_queries_beside_their_items():
    batches = epoch()
    assert sorted(np.concatenate([b.inputs["item"] for b in batches]).tolist()) == list(range(6))
    for batch in batches:
        np.testing.assert_array_equal(batch.inputs["user"], batch.inputs["item"])


def test_the_generator_decides_the_order():
    def order(seed: int) -> list[int]:
        return np.concatenate([b.inputs["item"] for b in epoch(seed)]).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_further_items_come_after_the_own_ones():
    for batch in epoch(num_sampled=3):
        assert batch.inputs["item"].shape == batch.inputs["log_q"].shape == (4,)
        assert batch.inputs["item"][:1].tolist() == batch.inputs["user"].tolist()
        assert "own" not in batch.inputs


def test_an_epoch_that_is_gone_on_with_has_the_same_batches():
    for whole, rest in zip(epoch(num_sampled=3)[2:], epoch(num_sampled=3, start=2), strict=True):
        for name, values in whole.inputs.items():
            np.testing.assert_array_equal(rest.inputs[name], values)


def test_own_items_are_named_where_they_are_asked_for():
    users, items = USERS, np.arange(6)
    for batch in epoch(num_sampled=3, own=OwnItems(users, items)):
        expected = users[batch.inputs["user"]][:, None] == users[batch.inputs["item"]][None, :]
        np.testing.assert_array_equal(batch.inputs["own"], expected)
