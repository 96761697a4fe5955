import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.config import REPOSITORY, RetrievalConfig, TrainingConfig
from pipelines.errors import TrainingError
from pipelines.inputs.row_file import RowFile
from pipelines.models import retrieval
from pipelines.models.export import export_onnx, load_onnx, run_onnx
from pipelines.models.retrieval import RetrievalData, export_towers, train_two_tower
from pipelines.models.training import predict
from tests.support.rows import feature_rows
from tests.support.train_and_die import stopped_after, train_and_die

CONFIG = RetrievalConfig(
    embedding_dim=16, hidden_units=(16,), feature_dim=4, batch_size=64, epochs=4, learning_rate=0.02
)


IDS = {
    "query_shapes": {"user": ((), "int32")}, "item_shapes": {"item": ((), "int32")}, "sizes": {"user": 40, "item": 128},
}  # fmt: skip


def encoded(seed: int = 0) -> tuple[RetrievalData, dict[str, Any]]:
    from pipelines.steps.retrieval_labels import encode, fit_encoders

    rows = feature_rows(1_200, seed=seed)
    items, queries = fit_encoders(rows.slice(0, 900), CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        train, validation = (RowFile(Path(folder) / name) for name in ("train", "validation"))
        pq.write_table(rows.slice(0, 900), train.file)
        pq.write_table(rows.slice(900), validation.file)
        data = encode(train, validation, items, queries, seed=0, resident_mb=1, scratch=Path(folder))
    sizes = {name: v.size for name, v in {**queries.vocabularies, **items.vocabularies}.items()}
    return data, {"query_shapes": queries.shapes, "item_shapes": items.shapes, "sizes": sizes}


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Any, RetrievalData]:
    data, shapes = encoded()
    model, fit = train_two_tower(data, config=CONFIG, seed=3, **shapes)
    return model, fit, data


def test_it_learns_a_planted_pattern(trained):
    _, fit, data = trained
    # Forty items in four groups: within the right group of ten, chance gives an nDCG@10 of about a quarter.
    by_chance = np.mean([1 / np.log2(1 + r) if r <= 10 else 0 for r in range(1, len(data.corpus["item"]) + 1)])
    assert fit.at_best()["validation_ndcg_at_10"] > 1.5 * by_chance
    assert fit.curves["loss"][-1] < fit.curves["loss"][0]


def test_the_model_has_the_weights_of_its_best_epoch(trained):
    from pipelines.models.retrieval import validation_metrics

    model, fit, data = trained
    assert validation_metrics(model, data) == {n: v for n, v in fit.at_best().items() if n != "loss"}


def test_towers_give_unit_vectors(trained):
    model, _, data = trained
    for tower, inputs in ((model.query_tower, data.queries), (model.item_tower, data.items)):
        np.testing.assert_allclose(np.linalg.norm(predict(tower, inputs), axis=1), 1, rtol=1e-5)


def test_a_call_gives_the_vectors_of_both_sides(trained):
    model, _, data = trained
    sides = model({**_first(data.queries, 8), **_first(data.items, 8)})
    assert {name: np.asarray(vectors).shape for name, vectors in sides.items()} == {
        "queries": (8, 16),
        "items": (8, 16),
    }


def test_wrong_shape_is_refused(trained):
    model, _, data = trained
    with pytest.raises(ValueError, match=r"shape|rank"):
        model.query_tower({**_first(data.queries, 8), "history": np.zeros(8, np.int32)})


def test_it_survives_its_config(trained):
    model, _, _ = trained
    config = model.get_config()
    assert type(model).from_config(config).get_config() == config


def test_saved_and_loaded_it_gives_equal_outputs_and_still_shares_the_item_embedding(trained, tmp_path: Path):
    import keras

    model, _, data = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(loaded.query_tower, data.queries), predict(model.query_tower, data.queries))
    assert loaded.count_params() == model.count_params()


def test_exported_towers_give_what_keras_gives(trained, tmp_path: Path):
    model, _, data = trained
    export_towers(model, tmp_path, data)
    for side, inputs in (("query", data.queries), ("item", data.items)):
        (embeddings,) = run_onnx(load_onnx(tmp_path / f"{side}_tower.onnx"), inputs).values()
        np.testing.assert_allclose(embeddings, predict(getattr(model, f"{side}_tower"), inputs), atol=1e-4)


def test_an_export_that_differs_is_refused(trained, tmp_path: Path, monkeypatch):
    model, _, data = trained
    monkeypatch.setattr("pipelines.models.export.TOLERANCE", -1.0)
    with pytest.raises(TrainingError, match="differs from Keras"):
        export_onnx(model.item_tower, tmp_path / "tower.onnx", _first(data.items, 2))


def test_no_two_dropouts_share_a_seed(trained):
    # With equal masks in both towers, rows are recognized by the mask: the loss falls and nothing is learned.
    model, _, _ = trained
    layers = [layer for tower in (model.query_tower, model.item_tower) for layer in tower.layers]
    seeds = [layer.seed for layer in layers if hasattr(layer, "seed")]
    assert len(seeds) >= 5
    assert len(set(seeds)) == len(seeds)


def test_equal_seeds_give_equal_models():
    data, shapes = encoded()
    config = CONFIG.model_copy(update={"epochs": 1})
    first, second = (train_two_tower(data, config=config, seed=9, **shapes)[0] for _ in range(2))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_that_stay_on_the_device_and_batches_sent_there_train_the_same_model():
    data, shapes = encoded()
    config = CONFIG.model_copy(update={"epochs": 1})
    kept, sent = (
        train_two_tower(data, config=config, seed=9, run=TrainingConfig(resident_mb=size), **shapes)[0]
        for size in (1_024, 0)
    )
    for one, other in zip(kept.get_weights(), sent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_labels_are_seen_in_fewer_epochs():
    data, shapes = encoded()
    config = CONFIG.model_copy(update={"max_examples": 2 * len(data.items["item"])})
    _, fit = train_two_tower(data, config=config, seed=9, **shapes)
    assert len(fit.curves["loss"]) == 2


def fitted(folder: Path | None, *, seed: int = 5, **changed: Any) -> tuple[Any, Any]:
    """Train on ids alone: users like every fourth item; 40 batches an epoch, a checkpoint every seven."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 40, 1_280).astype(np.int32)
    items = (rng.integers(0, 32, 1_280) * 4 + users % 4).astype(np.int32)
    asked, wanted = {"user": users[:200]}, items[:200].astype(np.int64)
    data = RetrievalData({"user": users}, {"item": items}, asked, wanted, {"item": np.arange(128, dtype=np.int32)})
    config = CONFIG.model_copy(update={"batch_size": 32, "epochs": 3, "patience": 3, "num_periods": 1, **changed})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "CHECKPOINT_BATCHES", 7)
        return train_two_tower(data, config=config, seed=seed, checkpoints=folder, **IDS)


def test_it_learns_from_ids_alone():
    _, fit = fitted(None)
    assert fit.best > 0.55  # a user's 32 items of 128 stand among the first 50; any order: 0.39


def test_it_learns_from_hard_negatives_alone():
    _, fit = fitted(None, num_hard_negatives=8)
    assert fit.curves["loss"][-1] < 0.9 * fit.curves["loss"][0]


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path):
    train_and_die(__name__, tmp_path, checkpoint=9)  # in the middle of the second epoch
    (resumed, went), (uninterrupted, expected) = fitted(tmp_path), fitted(None)
    assert went == expected
    for weight, other in zip(resumed.variables, uninterrupted.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    with pytest.raises(TrainingError, match="another run"):
        fitted(tmp_path, seed=6)


def test_what_a_stream_of_labels_taught_is_kept_with_the_weights(tmp_path: Path):
    how = {"log_q": "stream", "frequency_rate": 0.2, "num_sampled_negatives": 16, "epochs": 2}
    with stopped_after(9):
        fitted(tmp_path, **how)
    (resumed, went), (uninterrupted, expected) = fitted(tmp_path, **how), fitted(None, **how)
    assert went == expected
    for weight, other in zip(resumed.variables, uninterrupted.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))


def cold_cosine(num_sampled: int) -> float:
    """Return the mean cosine of users with items that were used once, long ago."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 40, 1_280).astype(np.int32)
    items = np.r_[np.arange(64, 128), rng.integers(0, 16, 1_216) * 4 + users[64:] % 4].astype(np.int32)
    every = {"item": np.arange(128, dtype=np.int32)}
    data = RetrievalData({"user": users}, {"item": items}, {"user": users[-9:]}, items[-9:].astype(np.int64), every)
    config = CONFIG.model_copy(
        update={
            "batch_size": 16, "epochs": 3, "patience": 3, "num_periods": 10, "temperature": 0.2,
            "num_sampled_negatives": num_sampled,
        }
    )  # fmt: skip
    model, _ = train_two_tower(data, config=config, seed=1, **IDS)
    people = {"user": np.arange(40, dtype=np.int32)}
    return float((predict(model.query_tower, people) @ predict(model.item_tower, every)[64:].T).mean())


def test_items_nobody_uses_any_more_are_told_apart_by_negatives_of_the_catalogue():
    assert cold_cosine(32) < cold_cosine(0) - 0.15


def scenes() -> tuple[RetrievalData, dict[str, Any]]:
    """Return labels of which the device decides what they are of, and the user nothing."""
    rng = np.random.default_rng(0)
    users, devices = (rng.integers(0, high, 1_280).astype(np.int32) for high in (40, 2))
    items = (rng.integers(0, 32, 1_280) * 2 + devices).astype(np.int32)
    queries = {"user": users, "device": devices + 9, "query_numbers": np.zeros((1_280, 6), np.float32)}
    asked, every = {name: values[:200] for name, values in queries.items()}, np.arange(64, dtype=np.int32)
    data = RetrievalData(queries, {"item": items}, asked, items[:200].astype(np.int64), {"item": every})
    shapes = {"user": ((), "int32"), "device": ((), "int32"), "query_numbers": ((6,), "float32")}
    sizes = {"user": 40, "item": 64, "device": 11}
    return data, {"query_shapes": shapes, "item_shapes": {"item": ((), "int32")}, "sizes": sizes}


@pytest.fixture(scope="module")
def three_towers() -> tuple[Any, Any, RetrievalData]:
    data, shapes = scenes()
    config = CONFIG.model_copy(
        update={"num_periods": 1, "batch_size": 16, "epochs": 2, "temperature": 0.2, "scene_units": (8,)}
    )
    model, fit = train_two_tower(data, config=config, seed=1, **shapes)
    return model, fit, data


def test_a_third_tower_learns_what_is_done_in_a_scene(three_towers):
    _, fit, _ = three_towers
    assert fit.best > 0.95  # a scene's 32 items of 64 stand among the first 50; any order: 0.78


def test_a_third_tower_scales_and_shifts_the_query(three_towers):
    model, _, data = three_towers
    copy, inputs = type(model).from_config(model.get_config()), _first(data.queries, 8)
    scale, shift = (copy.scene_tower.get_layer(name) for name in ("scale", "shift"))
    nothing, direction = np.zeros(scale.kernel.shape), np.arange(scale.bias.shape[0])
    found = []
    for scale_bias, shift_bias in ((1 + direction, 0 * direction), (-1 - direction, 0 * direction), (0, direction)):
        scale.set_weights([nothing, 0 * direction + scale_bias])
        shift.set_weights([nothing, shift_bias])
        found.append(predict(copy.query_tower, inputs))
    np.testing.assert_allclose(found[1], -found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], np.tile(direction / np.linalg.norm(direction), (8, 1)), atol=1e-6)
    assert found[0].std(axis=0).max() > 0.01


def test_what_a_third_tower_reads_reaches_the_query_through_it_alone(three_towers):
    model, _, data = three_towers
    assert set(model.scene_tower.input) == {"device", "query_numbers"}
    inputs = _first(data.queries, 8)
    later = {**inputs, "query_numbers": inputs["query_numbers"] + [0, 0, 1, 0, 0, 0]}
    other = {**inputs, "query_numbers": inputs["query_numbers"] + [1, 0, 0, 0, 0, 0]}
    before, after = (predict(model.scene_tower, {k: x[k] for k in model.scene_tower.input}) for x in (inputs, other))
    np.testing.assert_array_equal(before[0], after[0])  # numbers of the user are not the scene's
    assert not np.allclose(predict(model.query_tower, later), predict(model.query_tower, inputs), atol=1e-3)


def test_a_third_tower_is_kept_and_exported_within_the_query_tower(three_towers, tmp_path: Path):
    import keras

    model, _, data = three_towers
    export_towers(model, tmp_path, data)
    expected = predict(model.query_tower, data.queries)
    (embeddings,) = run_onnx(load_onnx(tmp_path / "query_tower.onnx"), data.queries).values()
    np.testing.assert_allclose(embeddings, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(predict(loaded.query_tower, data.queries), expected, atol=1e-6)


def test_a_third_tower_of_nothing_is_refused():
    from pipelines.models.two_tower import TwoTower

    with pytest.raises(ValueError, match="query inputs user; expected device or query_numbers"):
        TwoTower(*(IDS[name] for name in ("query_shapes", "item_shapes", "sizes")), scene_units=(8,))


JAX = """
import numpy as np
from tests.pipelines.models.test_retrieval import CONFIG, encoded
from pipelines.models.retrieval import train_two_tower
import keras
data, shapes = encoded()
model, fit = train_two_tower(data, config=CONFIG.model_copy(update={"epochs": 1}), seed=1, **shapes)
assert keras.backend.backend() == "jax"
assert np.isfinite(fit.curves["loss"]).all(), fit
print([tuple(w.shape) for w in model.get_weights()])
more = {"num_sampled_negatives": 32, "log_q": "stream", "scene_units": (8,), "epochs": 1}
_, fit = train_two_tower(data, config=CONFIG.model_copy(update=more), seed=1, **shapes)
assert np.isfinite(fit.curves["loss"]).all(), fit
"""


@pytest.mark.slow
def test_jax_trains_the_same_model(trained):
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", JAX], capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str([tuple(w.shape) for w in trained[0].get_weights()])


def _first(inputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: values[:count] for name, values in inputs.items()}
