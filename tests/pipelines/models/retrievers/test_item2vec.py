import numpy as np
import pytest

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.item2vec import Item2Vec, Item2VecSettings, near, shifted_pmi
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, walks


class TestItem2Vec(RetrieverContract):
    name = "item2vec"
    settings = {"num_factors": 24, "window": 2, "history_decay": 0.5}
    learns = 0.6  # nearness has no direction: the step back is as near as the step on


def rows(items: list[int], users: list[int], times: list[int] | None = None) -> Sequences:
    return Sequences.of(
        np.array(users), np.array(items), num_users=2, num_items=4, times=None if times is None else np.array(times)
    )


def test_items_of_one_row_are_near_by_how_few_steps_they_are_apart():
    found = near(rows([0, 1, 1, 2, 3, 0], [0, 0, 0, 0, 1, 1]), 3, None).toarray()
    third = 1 / 3
    # 0 1 1 2: an item is not near itself, and users do not mix.
    expected = [[0, 5 * third, third, 1], [5 * third, 0, 5 * third, 0], [third, 5 * third, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(found, expected)


def test_a_long_gap_ends_a_session():
    found = near(rows([0, 1, 2], [0, 0, 0], [0, 3_600, 20_000]), 2, 1.0).toarray()
    np.testing.assert_allclose(found[0, 1], 1)
    assert found[2].sum() == 0
    # A user's first event is no gap: rows of other users stand before it.
    two = near(rows([0, 1, 2, 3], [0, 0, 1, 1], [9_000, 9_100, 0, 100]), 1, 1.0).toarray()
    assert (two[0, 1], two[2, 3], two[1, 2]) == (1, 1, 0)


def test_the_matrix_is_the_information_two_items_have_of_each_other_less_the_shift():
    counts = near(walks(), 2, None)
    settings = Item2VecSettings(num_negatives=2, smoothing=1)
    full = counts.toarray()
    with np.errstate(divide="ignore"):
        information = np.log(full * full.sum() / np.outer(full.sum(0), full.sum(1)))
    wanted = np.maximum(information - np.log(2), 0)
    np.testing.assert_allclose(shifted_pmi(counts, settings).toarray(), wanted)


def test_products_of_vectors_restore_the_matrix_but_for_what_is_below_zero():
    train, settings = walks(), Item2VecSettings(num_factors=31, popularity_weight=0)
    model = Item2Vec(settings)
    model.fit(train, options=RunOptions(seed=1))
    values, directions = np.linalg.eigh(shifted_pmi(near(train, settings.window, None), settings).toarray())
    best = (directions * np.maximum(values, 0)) @ directions.T
    np.testing.assert_allclose(model.items[:, :-1] @ model.items[:, :-1].T, best, atol=1e-3)


def test_a_history_is_its_decayed_mean_and_popularity_comes_on_top():
    train = walks()
    scores = {}
    for weight in (0.0, 0.7):
        model = Item2Vec(Item2VecSettings(num_factors=8, history_decay=0.5, popularity_weight=weight))
        model.fit(train, options=RunOptions(seed=1))
        scores[weight] = model.score(train.take(np.arange(5)))
    share = np.bincount(train.items, minlength=32) / len(train.items)
    np.testing.assert_allclose(scores[0.7] - scores[0.0], np.tile(0.7 * np.log(share), (5, 1)), atol=1e-4)
    own = train.items[:6]
    weights = 0.5 ** np.arange(6)[::-1]
    vector = weights / weights.sum() @ model.items[own, :-1]
    np.testing.assert_allclose(model.fold_in(train.take(np.arange(1)))[0, :-1], vector, atol=1e-5)


@pytest.mark.parametrize("num_items", [2, 3])
def test_few_items_have_few_factors(num_items):
    train = Sequences.of(np.array([0, 0]), np.array([0, 1]), num_users=1, num_items=num_items)
    model = Item2Vec(Item2VecSettings(num_factors=16))
    model.fit(train, options=RunOptions(seed=1))
    assert np.isfinite(model.score(train)).all()
