import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import RetrievalConfig, TrainingConfig
from pipelines.contracts import ModelVersion, TrainingSet
from pipelines.errors import ConfigError, TrainingError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.row_file import RowFile
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.catalogue import configured_class
from pipelines.models.training import Fit
from pipelines.models.vectors import embed_items, embed_queries
from pipelines.steps.retrieval_labels import latest_items
from pipelines.steps.train_retrieval import train_into, train_retrieval
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.memory_registry import MemoryRegistry
from tests.support.model_refs import training_set
from tests.support.rows import feature_rows
from tests.support.train_and_die import stopped_after

CONFIG = RetrievalConfig(embedding_dim=8, hidden_units=(8,), feature_dim=4, batch_size=64, epochs=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingSet, MemoryRegistry, LocalArtifacts, ModelVersion]:
    root = tmp_path_factory.mktemp("retrieval")
    labels, registry, artifacts = (
        training_set(root / "set"),
        MemoryRegistry(root / "reg"),
        LocalArtifacts(root / "runs"),
    )
    model = train_retrieval(labels, config=CONFIG, registry=registry, artifacts=artifacts, seed=1)
    return labels, registry, artifacts, model


def test_the_bundle_is_all_that_serving_needs(world):
    _, registry, _, model = world
    bundle = registry.download(model)
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["kind"] == "retrieval"
    assert manifest["embedding_dim"] == 8
    assert manifest["history_length"] == 5
    rows = feature_rows(20, seed=3)
    for side, encoder in (
        ("query", QueryEncoder.load(bundle / "query_inputs")),
        ("item", ItemEncoder.load(bundle / "item_inputs")),
    ):
        (embeddings,) = run_onnx(load_onnx(bundle / f"{side}_tower.onnx"), encoder.encode(rows)).values()
        assert embeddings.shape == (20, 8)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-4)


def test_options_reach_what_is_served(world, tmp_path: Path):
    labels, _, _, plain = world
    options = {"num_bins": 4, "scene_units": (8,), "num_sampled_negatives": 16, "log_q": "stream", "epochs": 1}
    registry, config = MemoryRegistry(tmp_path / "registry"), CONFIG.model_copy(update=options)
    artifacts = LocalArtifacts(tmp_path / "runs")
    bundle = registry.download(train_retrieval(labels, config=config, registry=registry, artifacts=artifacts, seed=1))
    query, item = QueryEncoder.load(bundle / "query_inputs"), ItemEncoder.load(bundle / "item_inputs")
    assert all(len(edges) == 3 for encoder in (query, item) for edges in (encoder.numbers.edges or {"": []}).values())
    rows = feature_rows(20, seed=3)
    noon = rows.set_column(rows.column_names.index("hour"), "hour", pa.array(np.full(20, 12)))
    vectors = embed_queries(bundle, rows)
    assert vectors.shape == embed_items(bundle, rows).shape == (20, 8)
    assert np.abs(vectors - embed_queries(bundle, noon)).max() > 1e-4
    assert QueryEncoder.load(world[1].download(plain) / "query_inputs").numbers.edges is None


def test_an_unseen_user_and_item_are_embedded(world):
    _, registry, _, model = world
    bundle = registry.download(model)
    query = QueryEncoder.load(bundle / "query_inputs").encode(pa.table({"user_id": ["nobody"]}))
    item = ItemEncoder.load(bundle / "item_inputs").encode(pa.table({"item_id": ["nothing"]}))
    for side, inputs in (("query", query), ("item", item)):
        (embedding,) = run_onnx(load_onnx(bundle / f"{side}_tower.onnx"), inputs).values()
        assert np.isfinite(embedding).all()


def test_the_run_says_what_the_model_was_made_from(world):
    labels, registry, _, model = world
    record = registry.records[model.name, model.version]
    assert record.tags["tandem.snapshot"] == "snap"
    assert record.tags["tandem.training_set"] == labels.fingerprint
    assert record.tags["tandem.feature_service"] == "retrieval_v1"
    assert json.loads(record.tags["tandem.lake_versions"]) == {"events": 0, "user_activity": 0}
    assert record.params["retrieval.embedding_dim"] == 8
    assert set(record.curves) == {"loss", "validation_recall_at_50", "validation_ndcg_at_10"}
    (plots,) = record.artifacts
    assert [file.name for file in plots.iterdir()] == ["learning_curve.png"]


def test_equal_arguments_give_the_version_that_is_there(world, monkeypatch, caplog):
    labels, registry, artifacts, model = world
    monkeypatch.setattr("pipelines.steps.train_retrieval.train_into", None)
    assert train_retrieval(labels, config=CONFIG, registry=registry, artifacts=artifacts, seed=1) == model
    assert f"retrieval version {model.version} is there already" in caplog.text
    assert "number of devices" in caplog.text


def test_devices_that_are_not_there_are_refused_whether_or_not_the_version_is(world):
    labels, registry, artifacts, _ = world
    run = TrainingConfig(device="cpu", num_devices=64)
    with pytest.raises(ConfigError, match=r"64 device\(s\) of kind 'cpu' were asked for"):
        train_retrieval(labels, config=CONFIG, registry=registry, artifacts=artifacts, seed=1, run=run)


def test_a_run_killed_before_registration_is_not_trained_again(world, monkeypatch, tmp_path: Path):
    labels, _, artifacts, model = world
    monkeypatch.setattr("pipelines.steps.train_retrieval.train_into", None)
    again = train_retrieval(labels, config=CONFIG, registry=MemoryRegistry(tmp_path), artifacts=artifacts, seed=1)
    assert again.digest == model.digest


def test_a_run_killed_in_training_goes_on_and_adds_up_its_cost(world, tmp_path: Path):
    labels, registry, _, model = world
    fresh = MemoryRegistry(tmp_path / "registry")
    work = {"registry": fresh, "artifacts": LocalArtifacts(tmp_path / "runs"), "checkpoints": tmp_path / "checkpoints"}
    with stopped_after(1):
        train_retrieval(labels, config=CONFIG, seed=1, **work)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    spent = json.loads((kept / "cost.json").read_text())
    (kept / "cost.json").write_text(json.dumps(spent | {"cost_cpu_seconds": spent["cost_cpu_seconds"] + 1e6}))
    resumed = train_retrieval(labels, config=CONFIG, seed=1, **work)
    record, expected = fresh.records[resumed.name, resumed.version], registry.records[model.name, model.version]
    assert record.curves == expected.curves
    assert record.metrics["cost_cpu_seconds"] > 1e6
    assert record.metrics["cost_wall_seconds"] > spent["cost_wall_seconds"] > 0
    assert record.metrics["cost_peak_memory_mb"] > 10
    assert not list((tmp_path / "checkpoints").iterdir())


def test_labels_in_a_file_train_the_same_model_and_a_killed_training_goes_on_with_them(world, tmp_path: Path):
    labels, registry, _, model = world
    fresh = MemoryRegistry(tmp_path / "registry")
    work = {"registry": fresh, "artifacts": LocalArtifacts(tmp_path / "runs"), "checkpoints": tmp_path / "checkpoints"}
    with stopped_after(1):
        train_retrieval(labels, config=CONFIG, seed=1, run=TrainingConfig(resident_mb=0), **work)
    streamed = train_retrieval(labels, config=CONFIG, seed=1, run=TrainingConfig(resident_mb=0), **work)
    record, expected = fresh.records[streamed.name, streamed.version], registry.records[model.name, model.version]
    assert record.curves == expected.curves
    rows, bundles = feature_rows(20, seed=3), (fresh.download(streamed), registry.download(model))
    for embed in (embed_queries, embed_items):
        np.testing.assert_array_equal(*(embed(bundle, rows) for bundle in bundles))


def test_who_is_told_of_epochs_may_end_the_training_before_its_checkpoint(world, tmp_path: Path):
    class Enough(Exception):
        pass

    def stop(fit: Fit) -> None:
        told.append(fit)
        raise Enough

    labels, registry, _, model = world
    told: list[Fit] = []
    options = RunOptions(seed=1, checkpoints=tmp_path / "kept", after_epoch=stop)
    with pytest.raises(Enough):
        train_into(tmp_path / "out", labels, CONFIG, options, served=False)
    (fit,) = told
    whole = registry.records[model.name, model.version].curves
    assert fit.curves == {name: values[:1] for name, values in whole.items()}
    assert not (tmp_path / "kept").exists()


def test_no_positive_label_is_refused(world):
    labels, registry, artifacts, _ = world
    config = CONFIG.model_copy(update={"min_positive_value": 99.0})
    with pytest.raises(TrainingError, match=r"0 positive labels \(retrieval.min_positive_value=99.0\)"):
        train_retrieval(labels, config=config, registry=registry, artifacts=artifacts, seed=1)


def test_vocabularies_come_from_the_training_window_alone(world):
    labels, registry, _, model = world
    items = ItemEncoder.load(registry.download(model) / "item_inputs").vocabularies["item"]
    import pyarrow.parquet as pq

    train = set(pq.read_table(Path(labels.uri) / "train.parquet")["item_id"].to_pylist())
    assert set(items.values.to_pylist()) == train


def test_latest_items_are_one_row_each_with_their_newest_features(tmp_path: Path):
    rows = pa.table({"item_id": ["b", "a", "b"], "title": ["old", "x", "new"], "user_id": ["u", "u", "u"]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    newest = latest_items(RowFile(tmp_path / "rows.parquet"))
    assert newest.to_pydict() == {
        "item_id": ["a", "b"],
        "title": ["x", "new"],
    }


def test_a_model_of_ones_own_is_trained_and_registered_and_is_another_version_when_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "models" / "own_retriever_of_a_test.py"
    file.parent.mkdir()
    file.write_text("from pipelines.models.retrievers.ease import Ease\nclass Mine(Ease):\n    pass\n")
    monkeypatch.syspath_prepend(file.parent)
    labels, registry = training_set(tmp_path / "set"), MemoryRegistry(tmp_path / "reg")
    stores = {"registry": registry, "artifacts": LocalArtifacts(tmp_path / "runs"), "seed": 1}
    config = RetrievalConfig(model="own_retriever_of_a_test:Mine", settings={"l2": 5.0})
    model = train_retrieval(labels, config=config, **stores)
    bundle = registry.download(model)
    assert json.loads((bundle / "bundle.json").read_text())["model"] == "own_retriever_of_a_test:Mine"
    assert configured_class(config.model).load(bundle / "model").settings.l2 == 5
    assert train_retrieval(labels, config=config, **stores) == model
    file.write_text(file.read_text() + "\n")
    assert train_retrieval(labels, config=config, **stores).version != model.version


def test_a_stored_configuration_imports_no_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A search keeps its configuration, and a trial goes by it."""
    (tmp_path / "never_imported_by_a_test.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = RetrievalConfig(model="never_imported_by_a_test:Mine")
    with pytest.raises(ConfigError, match="is unknown"):
        train_into(tmp_path / "run", training_set(tmp_path / "set"), config, RunOptions(1))
