from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import RetrievalConfig
from pipelines.errors import ConfigError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.models.retrievers.content_vectors import know_new_items_by_content
from pipelines.models.retrievers.item_side import save_item_vectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.vectors import embed_items, embed_queries
from pipelines.steps.train_retrieval import train_retrieval
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.memory_registry import MemoryRegistry
from tests.support.model_refs import training_set
from tests.support.rows import GROUPS, feature_rows

WIDTH, NUM_ITEMS = 5, 60


@pytest.fixture(scope="module")
def made() -> tuple[pa.Table, np.ndarray, ItemEncoder]:
    """Items with vectors that follow from their two categories and a word, apart from a little noise."""
    rng = np.random.default_rng(0)
    categories, words = rng.integers(0, 6, (NUM_ITEMS, 2)), rng.integers(0, 4, NUM_ITEMS)
    effects, of_words = rng.normal(size=(6, WIDTH)), rng.normal(size=(4, WIDTH))
    vectors = 3 + (effects[categories].sum(axis=1) + of_words[words]) / 3**0.5
    items = pa.table(
        {
            "item_id": [f"i{n:02d}" for n in range(NUM_ITEMS)],
            "title": [f"word{n}" for n in words],
            "categories": [[f"c{n}" for n in row] for row in categories],
        }
    )
    noisy = (vectors + rng.normal(0, 0.02, vectors.shape)).astype(np.float32)
    return items, noisy, ItemEncoder.fit(items, num_oov_buckets=3, max_text_tokens=2)


def bundle(folder: Path, items: pa.Table, vectors: np.ndarray, encoder: ItemEncoder) -> Path:
    vocabulary = encoder.vocabularies["item"]
    layout = Layout(
        history_length=2, first_item=vocabulary.first_known, num_items=len(items), first_user=2, num_users=1
    )
    order = np.argsort(vocabulary.lookup(items["item_id"]))
    save_item_vectors(folder, layout, vectors[order])
    encoder.save(folder / "item_inputs")
    know_new_items_by_content(folder, encoder, items, seed=1)
    return folder


def test_a_new_item_is_placed_by_its_content_and_a_known_one_stays(made, tmp_path: Path):
    items, vectors, encoder = made
    folder = bundle(tmp_path, items, vectors, encoder)
    np.testing.assert_array_equal(embed_items(folder, items), vectors)
    twins = items.set_column(0, "item_id", pa.array([f"new{n}" for n in range(NUM_ITEMS)]))
    away = np.linalg.norm(embed_items(folder, twins) - vectors, axis=1).mean()
    assert away < 0.2 * np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).mean()


def test_what_content_was_never_seen_counts_for_nothing(made, tmp_path: Path):
    items, vectors, encoder = made
    folder = bundle(tmp_path, items, vectors, encoder)
    bare = pa.table({"item_id": ["new"], "title": ["unheard of"], "categories": [["none such"]]})
    np.testing.assert_allclose(embed_items(folder, bare), vectors.mean(axis=0, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(embed_items(folder, bare.select(["item_id"])), embed_items(folder, bare))
    known = pa.table({"item_id": ["new"], "title": ["word1"], "categories": [["c0", "c0"]]})
    more = pa.table({"item_id": ["new"], "title": ["word1 unheard"], "categories": [["c0", "c0"]]})
    np.testing.assert_allclose(embed_items(folder, known), embed_items(folder, more), rtol=1e-5)


def test_a_model_of_histories_finds_an_item_nobody_used(tmp_path: Path):
    rows, registry = feature_rows(1_000), MemoryRegistry(tmp_path / "registry")
    stores = {"registry": registry, "artifacts": LocalArtifacts(tmp_path / "runs"), "seed": 1}
    labels = training_set(tmp_path / "set", rows)
    config = RetrievalConfig(model="item2vec", content_vectors=True)
    folder = registry.download(train_retrieval(labels, config=config, **stores))
    new = pa.table(
        {
            "item_id": [f"new{n}" for n in range(4)],
            "title": [f"The {name} of 77" for name in GROUPS],
            "categories": [[name] for name in GROUPS],
        }
    )
    asked = pa.table({"user_id": ["u0", "u1", "u2", "u3"], "recent_items": [[f"i{n}", f"i{n + 4}"] for n in range(4)]})
    scores = embed_queries(folder, asked) @ embed_items(folder, new).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("model", "message"),
    [("item_neighbours", "needs item vectors in full"), ("two_tower", "is of models other than two_tower")],
)
def test_where_content_has_no_place_is_said(model: str, message: str, tmp_path: Path):
    labels = training_set(tmp_path / "set", feature_rows(200))
    stores = {"registry": MemoryRegistry(tmp_path / "registry"), "artifacts": LocalArtifacts(tmp_path / "runs")}
    with pytest.raises(ConfigError, match=message):
        train_retrieval(labels, config=RetrievalConfig(model=model, content_vectors=True), seed=1, **stores)
