import json

import numpy as np
import pytest

from pipelines.config import IndexConfig
from pipelines.errors import AnnIndexError
from pipelines.index.base import recall_at_k
from pipelines.index.brute_force import BruteForceIndex
from pipelines.index.loading import build_index, load_index, tune
from tests.contracts.ann_index import unit_vectors


@pytest.mark.parametrize(
    ("num", "below", "kind"), [(99, 100, "brute_force"), (100, 100, "scann"), (15, 1, "brute_force")]
)
def test_size_decides_the_kind(num, below, kind):
    assert build_index(unit_vectors(num), config=IndexConfig(brute_force_below=below)).kind == kind


def test_a_header_that_disagrees_is_refused(tmp_path):
    BruteForceIndex(unit_vectors(20)).save(tmp_path)
    header = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**header, "num_items": 21}))
    with pytest.raises(AnnIndexError, match="header says otherwise"):
        load_index(tmp_path)


def test_an_unknown_kind_is_named(tmp_path):
    (tmp_path / "index.json").write_text('{"kind": "faiss"}')
    with pytest.raises(AnnIndexError, match="'faiss'"):
        load_index(tmp_path)


def test_a_missing_index_says_what_to_run(tmp_path):
    with pytest.raises(AnnIndexError, match="tandem build-index"):
        load_index(tmp_path)


def test_tuning_searches_more_leaves_until_recall_is_there():
    config = IndexConfig(brute_force_below=100, min_recall=0.9)
    vectors, queries = unit_vectors(2000), unit_vectors(50, seed=1)
    exact, _ = BruteForceIndex(vectors).search(queries, 20)
    index = build_index(vectors, config=config)
    before = recall_at_k(index.search(queries, 20)[0], exact)
    tune(index, queries, exact, config=config)
    assert before < 0.9 < recall_at_k(index.search(queries, 20)[0], exact)


def test_recall_ignores_padding():
    found, exact = np.array([[1, 2, -1]]), np.array([[2, 3, -1]])
    assert recall_at_k(found, exact) == 0.5
    assert recall_at_k(np.array([[-1]]), np.array([[-1]])) == 1.0
