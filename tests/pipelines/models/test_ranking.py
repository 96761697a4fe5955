from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.ranking import PairData, TrainedRanker, export_ranker, fit_logistic, list_ndcg, train_ranker
from tests.support.rows import feature_rows
from tests.support.train_and_die import stopped_after

CONFIG = RankingConfig(
    embedding_dim=4,
    hidden_units=(16,),
    num_cross_layers=1,
    batch_size=128,
    epochs=5,
    learning_rate=0.02,
    num_oov_buckets=2,
)
PER_QUERY = 10


def pair_data(seed: int) -> tuple[PairData, RankingEncoder]:
    """Pairs of random items: those of the user's own taste are positive, retrieval's score is noise."""
    rows = feature_rows(1_500, seed=seed)
    items = ItemEncoder.fit(rows, num_oov_buckets=2, max_text_tokens=2).vocabularies
    query = QueryEncoder.fit(
        rows, item_vocabulary=items["item"], category_vocabulary=items["category"], num_oov_buckets=2
    )
    noise = np.random.default_rng(seed).normal(size=rows.num_rows)
    rows = rows.append_column("retrieval_score", pa.array(noise))
    encoder = RankingEncoder.fit(rows, query=query, items=rows, num_oov_buckets=2, max_text_tokens=2)
    match = rows["taste_match"].to_numpy()
    label = (np.random.default_rng(seed).random(rows.num_rows) < np.where(match > 0, 0.6, 0.05)).astype(np.float32)
    value = np.where(label > 0, 2.0 + match, np.nan).astype(np.float32)
    own = np.arange(rows.num_rows)
    data = PairData(
        queries={name: values for name, values in encoder.query.encode(rows).items() if name != "user"},
        items=encoder.item.encode(rows),
        pair_numbers=encoder.pair_numbers.encode(rows),
        query_rows=own // PER_QUERY * PER_QUERY,
        item_rows=own,
        label=label,
        weight=np.ones(len(label), np.float32),
        value=value,
    )
    return data, encoder


def vectors(sizes: dict[str, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(sizes["item"], 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> tuple[Any, PairData]:
    data, encoder = pair_data(0)
    vocabularies = {**encoder.query.vocabularies, **encoder.item.vocabularies}
    sizes = {name: vocabulary.size for name, vocabulary in vocabularies.items()}
    return train_ranker(
        data, data, shapes=encoder.shapes, sizes=sizes, item_vectors=vectors(sizes), config=CONFIG, seed=1
    ), data


def test_stopped_between_epochs_it_ends_as_if_it_had_not_been(trained, tmp_path: Path):
    (expected, data), (_, encoder) = trained, pair_data(0)
    vocabularies = {**encoder.query.vocabularies, **encoder.item.vocabularies}
    sizes = {name: vocabulary.size for name, vocabulary in vocabularies.items()}

    def train(seed: int = 1) -> TrainedRanker:
        return train_ranker(
            data, data, shapes=encoder.shapes, sizes=sizes, item_vectors=vectors(sizes), config=CONFIG, seed=seed,
            checkpoints=tmp_path,
        )  # fmt: skip

    with stopped_after(2):
        train()
    resumed = train()
    assert (resumed.fit, resumed.metrics) == (expected.fit, expected.metrics)
    for weight, other in zip(resumed.served.variables, expected.served.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    with pytest.raises(TrainingError, match="another run"):
        train(seed=2)


def outputs(trained) -> dict[str, np.ndarray]:
    ranker, data = trained
    return {
        n: np.asarray(v) for n, v in ranker.served.predict_on_batch(data.inputs(np.arange(len(data.label)))).items()
    }


def test_it_orders_better_than_noise_and_says_so(trained):
    ranker, _ = trained
    assert ranker.metrics["validation_ndcg_at_10"] > ranker.metrics["validation_retrieval_ndcg_at_10"]
    assert ranker.use_for_ordering


def test_probabilities_are_calibrated(trained):
    probability, label = outputs(trained)["probability"], trained[1].label
    assert probability.shape == label.shape
    assert probability.mean() == pytest.approx(label.mean(), abs=0.02)
    upper = probability > np.median(probability)
    assert probability[upper].mean() == pytest.approx(label[upper].mean(), abs=0.06)


def test_expected_values_are_in_the_unit_of_the_events(trained):
    value, wanted = outputs(trained)["expected_value"], trained[1].value
    known = np.isfinite(wanted)
    assert np.abs(value[known] - wanted[known]).mean() < 0.35


def test_the_exported_graph_gives_what_keras_gives(trained, tmp_path: Path):
    ranker, data = trained
    export_ranker(ranker.served, tmp_path, data)
    actual = run_onnx(load_onnx(tmp_path / "ranker.onnx"), data.inputs(np.arange(len(data.label))))
    for name, expected in outputs(trained).items():
        np.testing.assert_allclose(actual[name], expected, atol=1e-4, err_msg=name)


def test_saved_and_loaded_it_gives_equal_outputs(trained, tmp_path: Path):
    import keras

    ranker, data = trained
    ranker.served.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(data.inputs(np.arange(len(data.label))))
    for name, expected in outputs(trained).items():
        np.testing.assert_array_equal(loaded[name], expected)


def test_too_few_positives_are_refused():
    data, encoder = pair_data(0)
    nothing = PairData(**{**vars(data), "label": np.zeros_like(data.label)})
    with pytest.raises(TrainingError, match="0 of 1500 training pairs are positive"):
        train_ranker(
            nothing, nothing, shapes=encoder.shapes, sizes={}, item_vectors=np.zeros((1, 1)), config=CONFIG, seed=1
        )


def test_calibration_recovers_weights_and_shift():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(20_000, 2)) * 2
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(evidence @ [0.5, 0.2] - 1)))).astype(float)
    scales, shift = fit_logistic(evidence, labels, np.ones(20_000))
    np.testing.assert_allclose(scales, [0.5, 0.2], atol=0.04)
    assert shift == pytest.approx(-1, abs=0.05)


def test_evidence_that_speaks_against_itself_gets_no_weight_and_the_rest_is_fitted_without_it():
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(20_000, 2))
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(evidence @ [-1.0, 0.8] - 1)))).astype(float)
    scales, shift = fit_logistic(evidence, labels, np.ones(20_000))
    assert scales[0] == 0
    alone, shift_alone = fit_logistic(evidence[:, 1:], labels, np.ones(20_000))
    np.testing.assert_allclose([scales[1], shift], [alone[0], shift_alone], rtol=1e-4)


def test_calibration_survives_a_single_class():
    scales, shift = fit_logistic(np.array([[0.3], [-0.2]]), np.zeros(2), np.ones(2))
    assert np.isfinite([*scales, shift]).all()


def test_a_network_of_no_use_leaves_retrievals_order():
    data, encoder = pair_data(0)
    informed = data.pair_numbers.copy()
    informed[:, 0] = data.label * 2 + np.random.default_rng(0).random(len(data.label))  # retrieval knows the answer
    told = PairData(**{**vars(data), "pair_numbers": informed})
    vocabularies = {**encoder.query.vocabularies, **encoder.item.vocabularies}
    sizes = {name: vocabulary.size for name, vocabulary in vocabularies.items()}
    config = CONFIG.model_copy(update={"epochs": 1})
    ranker = train_ranker(
        told, told, shapes=encoder.shapes, sizes=sizes, item_vectors=vectors(sizes), config=config, seed=1
    )
    probability = np.asarray(ranker.served.predict_on_batch(told.inputs(np.arange(50)))["probability"])
    assert not ranker.use_for_ordering
    assert (np.argsort(probability) == np.argsort(informed[:50, 0])).all()


def test_list_ndcg_counts_ties_worst_case_and_skips_queries_without_positives():
    data, _ = pair_data(0)
    small = PairData(
        **{
            **vars(data),
            "query_rows": np.array([0, 0, 1, 1]),
            "label": np.array([1, 0, 0, 0], np.float32),
        }
    )
    assert list_ndcg(np.array([1.0, 0.0, 1.0, 1.0]), small).tolist() == [1.0]
    assert list_ndcg(np.array([1.0, 1.0, 1.0, 1.0]), small) == pytest.approx([1 / np.log2(3)])
