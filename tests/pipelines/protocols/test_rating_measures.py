import numpy as np

from pipelines.models.ratings.base import Ratings
from pipelines.protocols.base import Contender, Parts
from pipelines.protocols.rating_measures import contest_rating, draw_lists, list_ndcg
from pipelines.protocols.rating_splits import RatingTask


def test_a_list_holds_different_ratings_of_one_user_and_short_histories_give_none():
    users = np.array([0, 1, 0, 2, 0, 1, 2, 2])
    ratings = Ratings(users, np.arange(8), np.ones(8), num_users=3, num_items=8)
    lists = draw_lists(ratings, 3, seed=1)
    assert sorted(map(sorted, lists.tolist())) == [[0, 2, 4], [3, 6, 7]]
    assert draw_lists(ratings, 2, seed=1).shape == (3, 2)
    assert any((draw_lists(ratings, 2, seed=seed) != draw_lists(ratings, 2, seed=0)).any() for seed in range(1, 5))


def test_ndcg_of_a_list_is_worst_case_among_ties_and_zero_where_nothing_is_gained():
    values = np.array([[5.0, 1.0], [5.0, 1.0], [5.0, 1.0], [1.0, 1.0]])
    scores = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [2.0, 1.0]])
    swapped = 1 / np.log2(3)
    np.testing.assert_allclose(list_ndcg(values, scores), [1, swapped, swapped, 0])


def test_the_error_is_of_all_ratings_and_kept_by_user():
    ratings = Ratings(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1.0, 3.0, 5.0]), num_users=2, num_items=2)
    task = RatingTask(ratings, ratings)
    found = contest_rating(Contender("biases", "biases"), Parts(task, task), "test", 0)
    errors = found.per_user["rmse"]
    assert errors.counts.tolist() == [2, 1]
    assert found["rmse"] == np.sqrt(errors.totals.sum() / 3)
    assert found["mae"] <= found["rmse"]
