import numpy as np

from pipelines.models.ratings.base import Ratings
from pipelines.protocols.rating_measures import draw_lists, list_ndcg


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
