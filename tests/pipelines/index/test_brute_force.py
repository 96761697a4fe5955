import numpy as np

from pipelines.index.brute_force import BruteForceIndex
from tests.contracts.ann_index import AnnIndexContract, unit_vectors


class TestBruteForce(AnnIndexContract):
    def build(self, embeddings):
        return BruteForceIndex(embeddings)


def test_equal_scores_come_in_row_order():
    vectors = np.tile(unit_vectors(1), (100, 1))
    rows, _ = BruteForceIndex(vectors).search(vectors[:2], 10)
    assert rows.tolist() == [list(range(10))] * 2


def test_ties_across_the_border_keep_row_order():
    vectors = np.array([[1, 0], [2, 0], [1, 0], [3, 0], [1, 0]], np.float32)
    rows, _ = BruteForceIndex(vectors).search(np.array([[1, 0]], np.float32), 3)
    assert rows.tolist() == [[3, 1, 0]]


def test_blocks_of_queries_give_the_same_as_one_block(monkeypatch):
    vectors, queries = unit_vectors(50), unit_vectors(9, seed=1)
    whole = BruteForceIndex(vectors).search(queries, 7)
    monkeypatch.setattr("pipelines.index.brute_force._BLOCK_SCORES", 100)
    split = BruteForceIndex(vectors).search(queries, 7)
    np.testing.assert_array_equal(whole[0], split[0])


def test_it_equals_sorting_all_scores():
    vectors, queries = unit_vectors(300), unit_vectors(30, seed=1)
    rows, _ = BruteForceIndex(vectors).search(queries, 20)
    np.testing.assert_array_equal(rows, np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :20])
