"""What every AnnIndex must do; subclasses give `build` and `load`."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import AnnIndexError
from pipelines.index.base import AnnIndex
from pipelines.index.loading import load_index


def unit_vectors(num: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class AnnIndexContract(ABC):
    """Run against each kind of index."""

    @abstractmethod
    def build(self, embeddings: np.ndarray) -> AnnIndex: ...

    def test_an_item_is_its_own_nearest_neighbour(self):
        vectors = unit_vectors(400)
        rows, scores = self.build(vectors).search(vectors[:50], 5)
        assert rows.dtype == np.int32
        assert scores.dtype == np.float32
        assert rows.shape == scores.shape == (50, 5)
        assert rows[:, 0].tolist() == list(range(50))
        np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)

    def test_scores_are_exact_and_descending(self):
        vectors, queries = unit_vectors(400), unit_vectors(20, seed=1)
        rows, scores = self.build(vectors).search(queries, 10)
        np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", vectors[rows], queries), atol=1e-5)
        assert (np.diff(scores, axis=1) <= 0).all()

    def test_more_than_there_are_is_padded(self):
        index = self.build(unit_vectors(40))
        rows, scores = index.search(unit_vectors(3, seed=1), 50)
        assert rows.shape == (3, 50)
        assert all(sorted(row[:40].tolist()) == list(range(40)) for row in rows)
        assert (rows[:, 40:] == -1).all()
        assert np.isneginf(scores[:, 40:]).all()

    def test_no_row_comes_twice_when_much_is_asked(self):
        index = self.build(unit_vectors(1000))
        rows, _ = index.search(unit_vectors(5, seed=1), 900)
        assert (rows >= 0).all()
        assert all(len(set(row.tolist())) == 900 for row in rows)

    def test_saved_and_moved_it_answers_the_same(self, tmp_path: Path):
        index, queries = self.build(unit_vectors(400)), unit_vectors(20, seed=1)
        index.save(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / "b")
        loaded = load_index(tmp_path / "b")
        assert (loaded.kind, loaded.num_items, loaded.embedding_dim) == (index.kind, 400, 16)
        for ours, theirs in zip(index.search(queries, 10), loaded.search(queries, 10), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(loaded.vectors(np.array([3, 1], np.int32)), unit_vectors(400)[[3, 1]])
        assert not list((tmp_path / "b").rglob("*.pkl"))

    def test_a_cut_file_is_refused(self, tmp_path: Path):
        self.build(unit_vectors(400)).save(tmp_path)
        largest = max((p for p in tmp_path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])
        with pytest.raises(AnnIndexError, match="build-index"):
            load_index(tmp_path)

    @pytest.mark.parametrize(
        ("queries", "top_k", "message"),
        [
            (np.full((1, 16), np.nan, np.float32), 5, "not finite"),
            (np.zeros((1, 15), np.float32), 5, r"\[1, 15\]"),
            (np.zeros(16, np.float32), 5, r"expected \[num_queries, 16\]"),
            (np.zeros((1, 16), np.float32), 0, "top_k is 0"),
        ],
    )
    def test_bad_queries_are_refused(self, queries: np.ndarray, top_k: int, message: str):
        with pytest.raises(AnnIndexError, match=message):
            self.build(unit_vectors(40)).search(queries, top_k)

    @pytest.mark.parametrize("bad", [np.zeros((0, 16), np.float32), np.full((20, 16), np.inf, np.float32)])
    def test_bad_corpora_are_refused(self, bad: np.ndarray):
        with pytest.raises(AnnIndexError):
            self.build(bad)

    def test_no_queries_are_no_answers(self):
        rows, scores = self.build(unit_vectors(40)).search(np.zeros((0, 16), np.float32), 5)
        assert rows.shape == scores.shape == (0, 5)
