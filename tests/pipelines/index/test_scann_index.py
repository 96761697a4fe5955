import subprocess
import sys

import numpy as np
import pytest

from pipelines.errors import AnnIndexError
from pipelines.index.base import recall_at_k
from pipelines.index.brute_force import BruteForceIndex
from pipelines.index.loading import load_index
from pipelines.index.scann_index import ScannIndex
from tests.contracts.ann_index import AnnIndexContract, unit_vectors

pytest.importorskip("scann")


class TestScann(AnnIndexContract):
    def build(self, embeddings):
        return ScannIndex.build(embeddings)


def test_recall_against_brute_force():
    vectors, queries = unit_vectors(5000), unit_vectors(100, seed=1)
    exact, _ = BruteForceIndex(vectors).search(queries, 50)
    index = ScannIndex.build(vectors)
    index.leaves_to_search = index.num_leaves
    found, _ = index.search(queries, 50)
    assert recall_at_k(found, exact) > 0.95


def test_too_few_items_name_the_knob():
    with pytest.raises(AnnIndexError, match=r"index\.brute_force_below"):
        ScannIndex.build(unit_vectors(15))


def test_a_pickle_beside_the_index_is_refused(tmp_path):
    ScannIndex.build(unit_vectors(40)).save(tmp_path)
    (tmp_path / "scann" / "scann_docids.pkl").write_bytes(b"anything")
    with pytest.raises(AnnIndexError, match="pickle"):
        load_index(tmp_path)


def test_saved_files_hold_no_path_of_this_machine(tmp_path):
    ScannIndex.build(unit_vectors(40)).save(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and str(tmp_path).encode() in p.read_bytes()]


def test_tuned_leaves_survive_saving(tmp_path):
    index = ScannIndex.build(unit_vectors(400))
    index.leaves_to_search = 13
    index.save(tmp_path)
    loaded = load_index(tmp_path)
    assert isinstance(loaded, ScannIndex)
    assert (loaded.leaves_to_search, loaded.num_leaves) == (13, 20)


def test_importing_scann_leaves_tensorflow_out():
    program = (
        "import sys; from pipelines.index.scann_index import import_scann; import_scann(); "
        "assert 'tensorflow' not in sys.modules, 'loaded'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_row_never_reached_is_not_row_zero():
    vectors = np.concatenate([unit_vectors(200), -unit_vectors(200)])
    index = ScannIndex.build(vectors)
    index.leaves_to_search = 1
    rows, scores = index.search(vectors[5:6], 399)
    assert np.isfinite(scores[rows >= 0]).all()
    assert (rows == 0).sum() <= 1
