import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models import metrics


def top(scores, relevant, k=3, excluded=None):
    as_mask = None if excluded is None else np.array([excluded], dtype=bool)
    return metrics.worst_case_top(
        np.array([scores], np.float32), np.array([relevant], dtype=bool), k, excluded=as_mask
    )[0]


def test_best_scores_come_first():
    assert top([0.1, 0.9, -0.5, 0.4], [0, 0, 0, 0]).tolist() == [1, 3, 0]


def test_of_equal_scores_the_irrelevant_come_first():
    assert top([1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0], k=4).tolist() == [1, 3, 0, 2]


def test_zero_and_minus_zero_are_one_score_and_nan_is_the_lowest():
    assert top([-0.0, 0.0, np.nan, -1.0], [1, 0, 0, 0], k=4).tolist() == [1, 0, 3, 2]


def test_excluded_items_never_appear_even_when_lists_run_short():
    assert top([0.1, 0.9, 0.5], [0, 0, 0], k=3, excluded=[0, 1, 0]).tolist() == [2, 0, -1]


def test_a_list_longer_than_the_corpus_is_padded():
    assert top([0.1, 0.9], [0, 0], k=4).tolist() == [1, 0, -1, -1]


def test_ranking_in_chunks_equals_ranking_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 5, (20, 30)).astype(np.float32), rng.random((20, 30)) < 0.2
    whole = metrics.worst_case_top(scores, relevant, 10)
    monkeypatch.setattr(metrics, "QUERIES_AT_ONCE", 7)
    np.testing.assert_array_equal(metrics.worst_case_top(scores, relevant, 10), whole)


@given(st.integers(0, 10_000))
def test_the_order_is_that_of_a_plain_sort(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=12), 1).astype(np.float32) * 10.0 ** rng.integers(-3, 4)
    relevant = rng.random(12) < 0.4
    expected = sorted(range(12), key=lambda i: (-scores[i], relevant[i], i))
    assert top(scores, relevant, k=12).tolist() == expected


HIT = np.array([[False, True, False, True], [False] * 4])
NUM_RELEVANT = np.array([3, 2])


def test_recall_is_a_share_of_all_that_is_relevant():
    np.testing.assert_allclose(metrics.recall(HIT, NUM_RELEVANT, 2), [1 / 3, 0])
    np.testing.assert_allclose(metrics.recall(HIT, NUM_RELEVANT, 4), [2 / 3, 0])


def test_ndcg_is_relative_to_the_best_possible_order():
    gained, ideal = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose(metrics.ndcg(HIT, NUM_RELEVANT, 4), [gained / ideal, 0])
    perfect = np.array([[True, True, True, False]])
    np.testing.assert_allclose(metrics.ndcg(perfect, np.array([3]), 4), [1])


def test_mrr_and_hit_rate_look_at_the_first_hit():
    np.testing.assert_allclose(metrics.mrr(HIT, 4), [1 / 2, 0])
    np.testing.assert_allclose(metrics.mrr(HIT, 1), [0, 0])
    np.testing.assert_allclose(metrics.hit_rate(HIT, 2), [1, 0])


def test_accuracy_has_every_metric_at_every_k():
    names = set(metrics.accuracy(HIT, NUM_RELEVANT, (1, 4)))
    assert names == {f"{metric}_at_{k}" for metric in ("recall", "ndcg", "mrr", "hit_rate") for k in (1, 4)}


LISTS = np.array([[0, 1], [0, -1]])


def test_coverage_counts_what_anyone_gets():
    assert metrics.coverage(LISTS, 4) == 0.5


def test_novelty_is_the_information_of_what_is_recommended():
    assert metrics.novelty(np.array([[0]]), np.array([0.0, 0.0])) == pytest.approx(1.0)
    assert metrics.novelty(np.array([[1]]), np.array([99.0, 0.0])) > metrics.novelty(
        np.array([[0]]), np.array([99.0, 0.0])
    )


def test_popularity_share_is_that_of_head_items():
    assert metrics.popularity_share(LISTS, np.array([True, False])) == pytest.approx(2 / 3)


def test_diversity_is_zero_for_equal_and_one_for_unrelated_content():
    content = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert metrics.intra_list_diversity(np.array([[0, 1]]), content) == pytest.approx(1)
    assert metrics.intra_list_diversity(np.array([[0, 2]]), content) == pytest.approx(0)
    assert metrics.intra_list_diversity(np.array([[0, -1]]), content) == 0


def test_head_items_hold_half_of_all_events():
    assert metrics.head_items(np.array([1.0, 6.0, 3.0, 0.0])).tolist() == [False, True, False, False]
    assert not metrics.head_items(np.zeros(3)).any()
