"""Halved layers never halve what a model is judged by: logits and softmax are float32."""

import numpy as np

from pipelines.config import RankingConfig, TrainingConfig
from pipelines.models.distinct_items import DistinctItems
from tests.support.pairs import made_pairs

HALF = "mixed_bfloat16"
NUM_ROWS, DIM = 64, 16


def softmax_loss(logits: np.ndarray, own: np.ndarray) -> float:
    """Mean cross-entropy in double precision."""
    highest = logits.max(axis=1)
    own_logits = logits[np.arange(len(own)), own]
    return float((np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - own_logits).mean())


def test_two_tower_vectors_and_loss_are_float32():
    from pipelines.models.two_tower import TwoTower

    ids = {"user": ((), "int32")}, {"item": ((), "int32")}
    model = TwoTower(
        *ids, {"user": NUM_ROWS, "item": NUM_ROWS}, embedding_dim=DIM, hidden_units=(DIM,), dropout=0.0,
        user_dropout=0.0, item_dropout=0.0, temperature=0.05, precision=HALF,
    )  # fmt: skip
    rows = np.arange(NUM_ROWS, dtype=np.int32)
    distinct = DistinctItems.of(rows[None], np.random.default_rng(0))
    inputs = {
        "user": rows, "item": rows, "log_q": np.zeros(NUM_ROWS, np.float32), "own": distinct.own[0],
        "negative_columns": distinct.columns[0], "negative_counts": distinct.counts[0],
    }  # fmt: skip
    sides = model(inputs, training=True)
    assert {layer.compute_dtype for layer in model.query_tower.layers} == {"float32", "bfloat16"}
    vectors = {name: np.asarray(side) for name, side in sides.items()}
    assert {side.dtype for side in vectors.values()} == {np.dtype(np.float32)}
    loss = model.compute_loss(x=inputs, y_pred=sides)
    logits = vectors["queries"].astype(np.float64) @ vectors["items"].astype(np.float64).T / 0.05
    np.testing.assert_allclose(float(loss), softmax_loss(logits, rows), rtol=1e-5)


def test_next_item_loss_is_float32():
    from pipelines.models.retrievers.sasrec import SASRec, SASRecSettings
    from tests.contracts.retriever import walks

    settings = SASRecSettings(dim=DIM, length=8, num_blocks=1, num_heads=1, batch_size=4, dropout=0.0, xla=False)
    model, batches = SASRec(settings).prepare(walks(), seed=0, precision=HALF)
    model.table.set_weights([np.random.default_rng(0).normal(size=model.table.embeddings.shape)])
    (arrays,) = next(batches.steps_of(1, 0)[1])
    states = model(arrays, training=True)
    assert states.dtype == "bfloat16"
    loss = model.compute_loss(x=arrays, y_pred=states)
    present = arrays["windows"] > 0
    vectors = np.asarray(states).astype(np.float64)[present]
    logits = vectors @ np.asarray(model.table.embeddings).astype(np.float64)[1:].T
    np.testing.assert_allclose(float(loss), softmax_loss(logits, arrays["targets"][present]), rtol=1e-5)


def test_a_ranker_tells_its_logit_in_float32_and_is_served_in_it(monkeypatch):
    from pipelines.models import ranker

    built, build = [], ranker.build_ranker

    def remembered(*args, **named):
        built.append(build(*args, **named))
        return built[-1]

    monkeypatch.setattr(ranker, "build_ranker", remembered)
    config = RankingConfig(embedding_dim=4, hidden_units=(8,), batch_size=256, epochs=1, model="deep")
    trained = made_pairs(600, 300).ranker(config, run=TrainingConfig(precision=HALF))
    (half, _), (_, served) = built
    dtypes = {layer.name: layer.compute_dtype for layer in half.layers}
    assert dtypes["logit"] == "float32"
    assert "bfloat16" in dtypes.values()
    assert trained.served is served
    assert {layer.compute_dtype for layer in served.layers} == {"float32"}
    np.testing.assert_array_equal(
        served.get_layer("item_embedding").get_weights(), half.get_layer("item_embedding").get_weights()
    )
