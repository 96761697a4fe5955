import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.ease import Ease, EaseSettings
from tests.contracts.retriever import RetrieverContract, walks


class TestEase(RetrieverContract):
    name = "ease"
    settings = {"l2": 5.0}
    learns = 0.3  # it knows the circle and not the order in it: which of the items left comes next is a guess


def test_no_column_can_be_improved_but_for_its_own_item():
    train = walks()
    model = Ease(EaseSettings(l2=5))
    model.fit(train, options=RunOptions(seed=1))
    rows = train.matrix().toarray()
    assert not np.diag(model.weights).any()
    # The gradient of the ridge regression is zero everywhere but where the weight is held at zero.
    gradient = rows.T @ (rows @ model.weights - rows) + 5 * model.weights
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_decay_asks_newer_items_more():
    train = walks()
    plain, decayed = Ease(EaseSettings(l2=5)), Ease(EaseSettings(l2=5, history_decay=0.1))
    for model in (plain, decayed):
        model.fit(train, options=RunOptions(seed=1))
    newest = train.items[train.offsets[1] - 1]
    np.testing.assert_allclose(decayed.score(train)[0], decayed.weights[newest], atol=0.15)
    assert not np.allclose(plain.score(train)[0], plain.weights[newest], atol=0.15)
