import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.recent_history import RecentHistory
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract


class TestRecentHistory(RetrieverContract):
    name = "recent_history"
    learns = 0.0  # what is asked for is never in the history; the tests below say what it orders


def test_the_newest_comes_first_then_what_is_popular():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([2, 0, 2, 3, 3])
    train = Sequences.of(users, items, num_users=2, num_items=5)
    model = RecentHistory()
    model.fit(train, options=RunOptions(seed=1))
    assert model.score(train).argsort(axis=1, kind="stable")[:, ::-1][:, :3].tolist() == [[2, 0, 3], [3, 2, 0]]


def test_a_repeated_item_counts_from_its_newest_use():
    train = Sequences.of(np.zeros(3, int), np.array([1, 0, 1]), num_users=1, num_items=2)
    model = RecentHistory()
    model.fit(train, options=RunOptions(seed=1))
    np.testing.assert_allclose(model.score(train)[0], [0.9 + 5e-4, 1.0 + 1e-3], rtol=1e-6)
