import numpy as np

from pipelines.models.candidates import popular_rows, retrieve, sample_pairs


def test_retrieve_gives_the_nearest_without_the_excluded():
    queries, items = np.array([[1.0, 0.0]], np.float32), np.array([[0.9, 0], [1, 0], [0.1, 0], [0.5, 0]], np.float32)
    rows, scores = retrieve(queries, items, 2, excluded=np.array([[False, True, False, False]]))
    assert rows.tolist() == [[0, 3]]
    np.testing.assert_allclose(scores, [[0.9, 0.5]])


def test_a_list_that_runs_short_ends_in_minus_one():
    queries, items = np.ones((1, 1), np.float32), np.ones((3, 1), np.float32)
    rows, _ = retrieve(queries, items, 3, excluded=np.array([[True, False, True]]))
    assert rows.tolist() == [[1, -1, -1]]


def lists():
    rows = np.array([[5, 6, 7, 8, -1], [1, 2, 3, 4, 9]])
    scores = np.linspace(1, 0, 10, dtype=np.float32).reshape(2, 5)
    positive = np.array([[False, True, False, False, False], [False] * 5])
    return rows, scores, positive


def test_positives_are_kept_and_missing_ones_never():
    pairs = sample_pairs(*lists(), num_candidates=2, rng=np.random.default_rng(0))
    assert 6 in pairs.item[pairs.query == 0]
    assert -1 not in pairs.item
    assert np.bincount(pairs.query).tolist() == [2, 2]


def test_weights_make_the_sample_stand_for_the_whole_list():
    rows, scores, positive = lists()
    pairs = sample_pairs(rows, scores, positive, num_candidates=2, rng=np.random.default_rng(0))
    assert pairs.weight[pairs.item == 6].tolist() == [1.0]
    assert pairs.weight.sum() == (rows >= 0).sum()


def test_scores_stay_with_their_items():
    rows, scores, positive = lists()
    pairs = sample_pairs(rows, scores, positive, num_candidates=3, rng=np.random.default_rng(0))
    expected = {(q, i): s for q in range(2) for i, s in zip(rows[q].tolist(), scores[q].tolist(), strict=True)}
    assert all(expected[q, i] == s for q, i, s in zip(pairs.query, pairs.item, pairs.score.tolist(), strict=True))


def test_popular_items_are_drawn_more_often_and_every_item_can_be():
    drawn = popular_rows(np.array([98, 0, np.nan]), (200, 50), np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=3)
    assert counts[0] > 50 * counts[1] > 0
    assert counts[2] > 0
