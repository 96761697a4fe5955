import numpy as np
import pytest

from pipelines.models.frequencies import StreamedFrequencies
from pipelines.models.negatives import KnownItems, Negatives, OwnItems
from pipelines.models.periods import Periods

# Items in order of time, two periods of six: 40 and 30 are known in the second alone.
ITEMS = np.array([10, 20, 10, 10, 20, 10, 40, 10, 40, 40, 30, 40], np.int32)
EDGES = np.array([0, 6, 12])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_items_are_drawn_alike_however_popular_they_are():
    known = KnownItems.of(ITEMS, EDGES)
    for period, expected in enumerate([[10, 20], [10, 20, 30, 40]]):
        items, counts = np.unique(ITEMS[known.draw(period, 8_000, rng())], return_counts=True)
        assert items.tolist() == expected
        np.testing.assert_allclose(counts / 8_000, 1 / len(expected), atol=0.03)


def test_an_item_is_as_it_was_by_the_end_of_the_period():
    known = KnownItems.of(ITEMS, EDGES)
    assert set(known.draw(0, 100, rng()).tolist()) == {4, 5}  # the newest of 20 and of 10 before row 6
    assert set(known.draw(1, 100, rng()).tolist()) == {4, 7, 10, 11}


def test_shares_are_of_the_period_alone():
    known = KnownItems.of(ITEMS, EDGES)
    np.testing.assert_allclose(known.shares(np.array([0, 1]), 0), [4 / 6, 2 / 6])
    np.testing.assert_allclose(known.shares(np.array([1, 7, 11, 10]), 1), [0, 1 / 6, 4 / 6, 1 / 6])


def negatives(num_sampled: int, *, stream: bool = False, num_rows: int = 600) -> Negatives:
    items = (np.random.default_rng(1).random(num_rows) ** 3 * 30).astype(np.int32)
    periods = Periods.of(items, num_periods=2, batch_size=40)
    estimate = StreamedFrequencies(512, 0.01) if stream else None
    return Negatives.of(items, periods, num_sampled=num_sampled, stream=estimate)


def test_without_more_items_probabilities_are_those_of_the_period():
    plain, rows = negatives(0), np.arange(40, 80)
    assert plain.sampled(rows[None], rng()).shape == (1, 0)
    np.testing.assert_array_equal(plain.log_q(rows, num_own=40), plain.periods.log_q[rows])


@pytest.mark.parametrize("stream", [False, True])
def test_a_probability_is_how_often_an_item_comes_one_way_or_the_other(stream: bool):
    mixed, generator, drawn, said = negatives(60, stream=stream), rng(), [], {}
    for epoch in range(40):
        for batch in mixed.periods.batches(40, generator):
            columns = np.concatenate([batch, mixed.sampled(batch[None], generator)[0]])
            log_q = mixed.log_q(columns, num_own=40)
            if mixed.periods.period_of(batch) == 1 and epoch > 5:
                drawn.append(mixed.items[columns])
                said |= dict(zip(mixed.items[columns].tolist(), np.exp(log_q).tolist(), strict=True))
    item, count = np.unique(np.concatenate(drawn), return_counts=True)
    share = count / count.sum()
    assert len(columns) == 100
    # A streamed estimate is of both periods and an average of a hundred gaps.
    np.testing.assert_allclose([said[i] for i in item.tolist()], share, rtol=0.6 if stream else 0.15)
    assert share.max() > 5 * share.min()


def test_a_stream_alone_estimates_the_labels():
    streamed = negatives(0, stream=True)
    for _ in range(10):
        for batch in streamed.periods.batches(40, rng()):
            log_q = streamed.log_q(batch, num_own=40)
    shares = np.bincount(streamed.items)[streamed.items[batch]] / 600
    assert np.abs(log_q - np.log(shares)).mean() < 0.3


def test_own_items_are_all_that_the_user_used_in_training():
    users, items = np.array([0, 1, 0, 2, 1]), np.array([5, 5, 7, 9, 9])
    own = OwnItems(users, items).mask(np.array([2, 4]), np.array([2, 4, 0, 1]))
    assert own.tolist() == [[True, False, True, True], [False, True, True, True]]
