from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.config import IndexConfig
from pipelines.errors import AnnIndexError
from pipelines.index.loading import load_index
from pipelines.steps.build_index import build_index
from pipelines.stores.artifacts import LocalArtifacts, check_folder
from pipelines.stores.base import RunRecord
from tests.support.memory_registry import MemoryRegistry
from tests.support.tiny_release import evaluation, items_table, write_models, write_training_set


@dataclass
class Items:
    """A feature store that knows items only."""

    table: object
    asked: list = field(default_factory=list)

    def items_at(self, moment, *, features):
        self.asked.append(moment)
        return self.table


@pytest.fixture
def setup(tmp_path):
    def make(num_items=60, num_labels=40):
        items = items_table(num_items)
        registry = MemoryRegistry(tmp_path / "registry")
        bundles = write_models(tmp_path / "models", items)
        models = [
            registry.register(name, bundle, key="k", dataset="tiny", record=RunRecord("run"))
            for name, bundle in zip(("retrieval", "ranking"), bundles, strict=True)
        ]
        refs = evaluation(write_training_set(tmp_path / "training", items, num_labels), *models)
        shuffled = items.take(np.random.default_rng(0).permutation(num_items))
        stores = {
            "feature_store": Items(shuffled),
            "registry": registry,
            "artifacts": LocalArtifacts(tmp_path / "runs"),
        }
        return refs, stores

    return make


def test_a_small_corpus_is_searched_exactly(setup):
    refs, stores = setup()
    index = build_index(refs, config=IndexConfig(recall_k=10), seed=7, **stores)
    assert (index.kind, index.num_items, index.embedding_dim) == ("brute_force", 60, 8)
    assert index.recall == {"recall_at_10": 1.0}
    assert index.retrieval == refs.retrieval
    assert stores["feature_store"].asked == [refs.training_set.features.snapshot.as_of]


def test_rows_of_index_and_items_agree(setup):
    refs, stores = setup()
    index = build_index(refs, config=IndexConfig(), seed=7, **stores)
    folder = stores["artifacts"].local(index.uri)
    check_folder(folder, index.digest)
    ids = pq.read_table(folder / "items.parquet")["item_id"].to_pylist()
    assert ids == sorted(ids)
    loaded = load_index(folder / "index")
    rows, _ = loaded.search(loaded.vectors(np.arange(60, dtype=np.int32)), 1)
    assert rows[:, 0].tolist() == list(range(60))


def test_a_large_corpus_gets_scann_tuned_to_the_floor(setup):
    refs, stores = setup(num_items=1500, num_labels=200)
    config = IndexConfig(brute_force_below=100, recall_k=10, min_recall=0.9)
    index = build_index(refs, config=config, seed=7, **stores)
    assert index.kind == "scann"
    assert index.recall["recall_at_10"] >= 0.9


def test_recall_below_the_floor_names_figures_and_knobs(setup, monkeypatch):
    refs, stores = setup(num_items=1500, num_labels=200)
    monkeypatch.setattr("pipelines.steps.build_index.tune", lambda *args, **kwargs: None)
    monkeypatch.setattr("pipelines.steps.build_index.recall_at_k", lambda found, exact: 0.5)
    config = IndexConfig(brute_force_below=100, recall_k=10)
    with pytest.raises(AnnIndexError, match=r"finds 0\.5000 .* at least 0\.95.*brute_force_below.*min_recall"):
        build_index(refs, config=config, seed=7, **stores)
    assert not list((stores["artifacts"]._root / "tiny").rglob("index.json")), "half an index was published"


def test_again_with_equal_inputs_it_is_the_same_folder(setup):
    refs, stores = setup()
    first = build_index(refs, config=IndexConfig(), seed=7, **stores)
    assert build_index(refs, config=IndexConfig(), seed=7, **stores) == first
    assert len(stores["feature_store"].asked) == 1, "the second run embedded the corpus again"
    assert build_index(refs, config=IndexConfig(num_queries=5), seed=7, **stores).uri != first.uri


def test_no_items_and_no_queries_are_explained(setup):
    refs, stores = setup(num_labels=0)
    with pytest.raises(AnnIndexError, match="test split has 0 rows"):
        build_index(refs, config=IndexConfig(), seed=7, **stores)
    stores["feature_store"].table = items_table(0)
    with pytest.raises(AnnIndexError, match="'tiny' has 0 items"):
        build_index(refs, config=IndexConfig(), seed=8, **stores)
