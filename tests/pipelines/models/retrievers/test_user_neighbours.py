from dataclasses import replace

import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.user_neighbours import UserNeighbours, UserNeighbourSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, rated_walks


class TestUserNeighbours(RetrieverContract):
    name = "user_neighbours"
    settings = {"num_neighbours": 10}
    learns = 0.3  # it knows the circle and not the order in it


class TestUserNeighboursByPearson(RetrieverContract):
    name = "user_neighbours"
    settings = {"num_neighbours": 10, "similarity": "pearson"}
    learns = 0.3

    def train(self) -> Sequences:
        return rated_walks()


class TestUserNeighboursByAdjustedCosine(TestUserNeighboursByPearson):
    settings = {"num_neighbours": 10, "similarity": "adjusted_cosine"}


def fitted(train: Sequences, **settings: object) -> UserNeighbours:
    model = UserNeighbours(UserNeighbourSettings(shrinkage=0, **settings))
    model.fit(train, options=RunOptions(seed=1))
    return model


def test_a_known_user_is_not_its_own_neighbour_and_a_stranger_with_its_history_asks_it():
    train = Sequences.of(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 2, 3]), num_users=3, num_items=4)
    model = fitted(train, num_neighbours=5)
    first = train.take(np.array([0]))
    stranger = replace(first, users=np.array([-1], dtype=np.int32))
    np.testing.assert_allclose(model.score(first)[0], [0.5, 0, 0.5, 0], atol=1e-3)
    np.testing.assert_allclose(model.score(stranger)[0], [1.5, 1, 0.5, 0], atol=1e-3)


def test_pearson_compares_what_users_like_above_their_mean():
    users = np.repeat(np.arange(3), 3)
    items = np.array([0, 1, 2, 0, 1, 3, 0, 1, 4])
    values = np.array([5.0, 1, 3, 4, 2, 3, 1, 5, 3])  # the second agrees with the first, the third does not
    model = fitted(Sequences.of(users, items, num_users=3, num_items=5, values=values), similarity="pearson")
    asked = Sequences.of(users, items, num_users=3, num_items=5, values=values).take(np.array([0]))
    np.testing.assert_allclose(model.score(asked)[0], [1, 1, 0, 1, 0], atol=1e-3)


def test_adjusted_cosine_compares_how_users_differ_from_everybody():
    users = np.repeat(np.arange(3), 3)
    items = np.array([0, 1, 2, 0, 1, 3, 0, 1, 4])
    # Everybody prefers item 0; the first two like it less than others do and item 1 more, the third the other way.
    values = np.array([4.0, 3, 3, 4, 3, 3, 5, 1, 3])
    train = Sequences.of(users, items, num_users=3, num_items=5, values=values)
    asked = train.take(np.array([0]))
    np.testing.assert_allclose(fitted(train, similarity="adjusted_cosine").score(asked)[0], [1, 1, 0, 1, 0], atol=1e-3)
    # Less their own mean all three are alike: the third is a neighbour, too.
    assert fitted(train, similarity="pearson").score(asked)[0, 4] > 0.5


def test_an_items_mean_is_that_of_training_whoever_asks():
    train = rated_walks()
    model = fitted(train, similarity="adjusted_cosine", num_neighbours=10)
    asked = train.take(np.array([3]))
    expected = asked.values - np.array([train.values[train.items == item].mean() for item in asked.items])
    np.testing.assert_allclose(model._asked(asked).toarray()[0, asked.items], expected, atol=1e-5)
