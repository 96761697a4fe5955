import numpy as np
import scipy.sparse as sp

from pipelines.config import IndexConfig
from pipelines.index.brute_force import BruteForceIndex
from pipelines.index.item_to_item import ItemToItemIndex
from pipelines.index.loading import build_index
from pipelines.index.sparse_vectors import SparseVectors
from tests.contracts.ann_index import AnnIndexContract, unit_vectors


class TestItemToItem(AnnIndexContract):
    def build(self, embeddings):
        return ItemToItemIndex(SparseVectors.of(sp.csr_matrix(embeddings)))


def sparse(num_rows: int = 60, width: int = 40) -> np.ndarray:
    full = sp.random(num_rows, width, density=0.1, random_state=np.random.default_rng(3), dtype=np.float32)
    return full.toarray()


def test_it_finds_what_exact_search_in_the_full_matrix_finds():
    full, queries = sparse(), sparse(9, 40)
    ours = ItemToItemIndex(SparseVectors.of(sp.csr_matrix(full))).search(queries, 60)
    theirs = BruteForceIndex(full).search(queries, 60)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)
    # Most scores are 0: equal ones come in row order from both.
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_rows_taken_are_those_of_the_full_matrix():
    full = sparse()
    vectors = SparseVectors.of(sp.csr_matrix(full))
    rows = np.array([7, 3, 3, 59])
    np.testing.assert_array_equal(vectors.take(rows).dense(np.arange(4)), full[rows])
    np.testing.assert_array_equal(vectors.dense(rows), full[rows])


def test_a_query_of_nothing_scores_nothing():
    assert not SparseVectors.of(sp.csr_matrix(sparse())).products(np.zeros((2, 40), np.float32)).any()


def test_sparse_vectors_stay_sparse_whatever_the_size():
    config = IndexConfig(brute_force_below=1)
    assert build_index(SparseVectors.of(sp.csr_matrix(sparse())), config=config).kind == "item_to_item"


def test_vectors_of_any_length_are_ordered_by_inner_product():
    long = unit_vectors(300) * np.linspace(0.1, 5, 300, dtype=np.float32)[:, None]
    queries = 3 * unit_vectors(20, seed=1)
    exact, _ = BruteForceIndex(long).search(queries, 10)
    np.testing.assert_array_equal(exact, np.argsort(-(queries @ long.T), axis=1, kind="stable")[:, :10])
