import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.svd import Svd, SvdSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, rated_walks, walks


class TestSvd(RetrieverContract):
    name = "svd"
    settings = {"num_factors": 4}
    learns = 0.3  # it knows the circle and not the order in it


class TestSvdOfRatings(RetrieverContract):
    name = "svd"
    settings = {"num_factors": 4, "values": "ratings"}
    learns = 0.3

    def train(self) -> Sequences:
        return rated_walks()


def test_a_history_is_projected_onto_the_largest_directions():
    train = walks()
    model = Svd(SvdSettings(num_factors=4))
    model.fit(train, options=RunOptions(seed=1))
    rows = train.matrix().toarray()
    left, values, right = np.linalg.svd(rows)
    best = (left[:, :4] * values[:4]) @ right[:4]
    np.testing.assert_allclose(model.fold_in(train) @ model.items.T, best, atol=1e-4)


def fitted(train: Sequences, **settings: object) -> Svd:
    model = Svd(SvdSettings(**settings))
    model.fit(train, options=RunOptions(seed=1))
    return model


def test_of_ratings_a_disliked_item_scores_below_a_liked_one_and_below_one_never_used():
    """Two tastes over items 0 to 3 and 4 to 7: who likes the ones dislikes the others; the last user rated four."""
    items = np.tile(np.arange(8), 20)
    users = np.repeat(np.arange(20), 8)
    values = np.where((users % 2 == 0) == (items < 4), 5.0, 1.0)
    users, items, values = np.append(users, [20] * 4), np.append(items, [0, 1, 4, 5]), np.append(values, [5, 4, 1, 2])
    train = Sequences.of(users, items, num_users=21, num_items=9, values=values)
    asked = train.take(np.array([20]))
    score = fitted(train, num_factors=1, values="ratings").score(asked)[0]
    assert score[[0, 1, 2, 3]].min() > score[8] > score[[4, 5, 6, 7]].max()
    plain = fitted(train, num_factors=1).score(asked)[0]
    np.testing.assert_allclose(plain[0], plain[4], atol=1e-3)  # ones do not tell the two apart


@pytest.mark.parametrize(
    ("values", "told"), [(None, "has no values"), (np.full(3, 0.1), "the same value for all that a user rated")]
)
def test_ratings_that_say_nothing_are_refused(values, told):
    train = Sequences.of(np.array([0, 0, 0]), np.arange(3), num_users=1, num_items=3, values=values)
    with pytest.raises(TrainingError, match=told):
        fitted(train, values="ratings")
