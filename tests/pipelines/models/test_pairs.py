from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.pairs import PairData, Targets, list_batches, lists_a_batch, pair_batches, whole_lists

NAN = float("nan")


def pairs() -> PairData:
    """Three queries: one of three candidates, one without positives, one of two; pair `n` has the number `n`."""
    return PairData(
        queries={"query_numbers": np.arange(3, dtype=np.float32)[:, None]},
        items={"item": np.arange(7, dtype=np.int32)},
        pair_numbers=np.arange(7, dtype=np.float32)[:, None],
        query_rows=np.array([0, 0, 0, 1, 1, 2, 2]),
        item_rows=np.arange(7),
        label=np.array([1, 0, 1, 0, 0, 0, 1], np.float32),
        weight=np.array([1, 4, 1, 1, 1, 2, 1], np.float32),
        value=np.array([2, NAN, 6, NAN, NAN, NAN, NAN], np.float32),
    )


def test_values_are_standardized_and_learnt_where_there_are_some():
    targets = Targets.of(pairs(), by_value=False)
    assert (targets.center, targets.spread) == (4.0, 2.0)
    np.testing.assert_allclose(targets.value, [-1, 0, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(targets.value_weight, [1, 0, 1, 0, 0, 0, 0])
    assert targets.weight.mean() == pytest.approx(1)


def test_weighted_by_value_the_odds_are_the_expected_value_of_a_pair():
    targets = Targets.of(pairs(), by_value=True)
    odds = targets.rate / (1 - targets.rate)
    assert odds == pytest.approx((2 + 6 + 4) / (4 + 1 + 1 + 2))  # the value that is missing counts as the mean


@pytest.mark.parametrize(
    ("value", "found"), [(NAN, "no positive pair has one"), (-1.0, "the smallest is -1"), (-np.inf, "no positive")]
)
def test_values_that_cannot_be_weights_are_refused(value, found):
    with pytest.raises(TrainingError, match=found):
        Targets.of(replace(pairs(), value=np.full(7, value, np.float32)), by_value=True)


def test_relevance_grows_with_the_value():
    relevance = Targets.of(pairs(), by_value=False).relevance
    assert (relevance[[1, 3, 4, 5]] == 0).all()
    assert 1 < relevance[0] < relevance[6] < relevance[2] < 2


def test_lists_without_both_are_left_out_and_short_ones_filled_up():
    np.testing.assert_array_equal(whole_lists(pairs()), [[0, 1, 2], [5, 6, -1]])
    with pytest.raises(TrainingError, match="0 of 3 training queries have both"):
        whole_lists(replace(pairs(), label=np.zeros(7, np.float32)))


def test_pairs_need_not_be_in_order_of_queries():
    data = pairs()
    order = np.array([5, 0, 3, 1, 6, 4, 2])
    shuffled = PairData(data.queries, data.items, *(v[order] for v in list(vars(data).values())[2:]))
    lists = whole_lists(shuffled)
    assert {tuple(sorted(order[row] for row in some if row >= 0)) for some in lists} == {(0, 1, 2), (5, 6)}


def test_a_batch_of_lists_holds_their_pairs_and_says_what_is_padding():
    data, rng = pairs(), np.random.default_rng(0)
    targets = Targets.of(data, by_value=False)
    (batch,) = list_batches(data, targets, whole_lists(data), batch_size=6, rng=rng)
    relevance, weight = batch.targets["logit"].reshape(2, 3, 2).transpose(2, 0, 1)
    number = batch.inputs["pair_numbers"].reshape(2, 3).astype(int)
    for row in range(2):
        held = set(number[row][relevance[row] >= 0].tolist())
        assert held in ({0, 1, 2}, {5, 6})
        assert (relevance[row] == -1).sum() == 3 - len(held)
    real = relevance >= 0
    np.testing.assert_allclose(relevance[real], targets.relevance[number[real]])
    np.testing.assert_allclose(weight[real], data.weight[number[real]])
    share = batch.weights["logit"].reshape(2, 3)
    np.testing.assert_allclose((share * (relevance > 0)).sum(axis=1), 3)  # each list weighs the same
    np.testing.assert_allclose(batch.weights["expected_value"].reshape(2, 3)[real], targets.value_weight[number[real]])
    assert (batch.weights["expected_value"].reshape(2, 3)[~real] == 0).all()


def test_candidates_are_shuffled_from_epoch_to_epoch():
    data, rng = pairs(), np.random.default_rng(0)
    targets = Targets.of(data, by_value=False)
    epochs = [
        next(iter(list_batches(data, targets, whole_lists(data), batch_size=6, rng=rng))).inputs["item"].tolist()
        for _ in range(4)
    ]
    assert len(set(map(tuple, epochs))) > 1


def test_an_epoch_of_pairs_sees_each_once():
    data = pairs()
    targets = Targets.of(data, by_value=False)
    batches = list(pair_batches(data, targets, batch_size=3, rng=np.random.default_rng(0)))
    seen = np.concatenate([batch.inputs["item"] for batch in batches])
    assert len(batches) == 2
    assert len(set(seen.tolist())) == 6
    np.testing.assert_array_equal(np.concatenate([b.targets["logit"][:, 0] for b in batches]), data.label[seen])


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (7, 1), (8, 2), (4_096, 10)])
def test_a_batch_holds_whole_lists_and_at_least_one(batch_size, expected):
    assert lists_a_batch(np.zeros((10, 4), np.int64), batch_size) == expected
