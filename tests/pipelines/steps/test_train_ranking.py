import json

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import ConfigError
from pipelines.inputs.ranking_encoder import RankingEncoder
from pipelines.models.export import load_onnx, run_onnx
from pipelines.steps.train_ranking import train_ranking
from tests.support.trained_models import RANKING, SEED


def test_the_bundle_is_all_that_serving_needs(world):
    bundle = world.registry.download(world.ranking)
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["kind"] == "ranking"
    assert manifest["calibration"]["in_graph"]
    assert isinstance(manifest["use_for_ordering"], bool)
    assert (manifest["model"], manifest["loss"]) == ("cross", "logistic")
    assert manifest["retrieval"]["digest"] == world.retrieval.digest
    encoder, session = RankingEncoder.load(bundle / "ranking_inputs"), load_onnx(bundle / "ranker.onnx")
    pairs = world.rows.slice(0, 7).append_column("retrieval_score", pa.array(np.linspace(0, 1, 7)))
    outputs = run_onnx(session, encoder.encode(pairs))
    assert {name: values.shape for name, values in outputs.items()} == {"probability": (7,), "expected_value": (7,)}
    assert ((outputs["probability"] > 0) & (outputs["probability"] < 1)).all()


def test_an_unseen_pair_is_ranked(world):
    bundle = world.registry.download(world.ranking)
    encoder = RankingEncoder.load(bundle / "ranking_inputs")
    inputs = encoder.encode(pa.table({"user_id": ["nobody"], "item_id": ["nothing"]}))
    outputs = run_onnx(load_onnx(bundle / "ranker.onnx"), inputs)
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_the_run_says_what_the_model_was_made_from(world):
    record = world.registry.records[world.ranking.name, world.ranking.version]
    assert record.tags["tandem.ranking_set"] == world.ranking_set.fingerprint
    assert record.tags["tandem.retrieval_version"] == world.retrieval.version
    assert record.tags["tandem.feature_service"] == "ranking_v1"
    assert record.metrics["use_for_ordering"] in (0.0, 1.0)
    assert record.tags["tandem.ranker"] == record.params["ranking.model"] == "cross"
    assert record.tags["tandem.ranking_loss"] == record.params["ranking.loss"] == "logistic"
    assert record.params["ranking.settings.num_cross_layers"] == 2
    assert "ranking.settings" not in record.params
    assert 0 <= record.metrics["validation_calibration_error"] < 1
    assert 0 <= record.metrics["validation_auc"] <= 1
    assert record.metrics["validation_mean_probability"] == pytest.approx(
        record.metrics["validation_positive_rate"], abs=0.01
    )


def test_the_run_shows_how_reliable_the_probabilities_are(world):
    record = world.registry.records[world.ranking.name, world.ranking.version]
    plots = {file.name for folder, target in record.artifacts.items() if target == "plots" for file in folder.iterdir()}
    assert plots == {"learning_curve.png", "reliability.png"}


def test_a_misspelt_setting_is_refused_before_anything_is_read(world):
    config = RANKING.model_copy(update={"settings": {"num_experts": 2}})
    with pytest.raises(ConfigError, match="do not fit model 'cross': num_experts"):
        train_ranking(world.ranking_set, config=config, registry=None, artifacts=None, seed=SEED)


def test_equal_arguments_give_the_version_that_is_there(world, monkeypatch):
    monkeypatch.setattr("pipelines.steps.train_ranking._train", None)
    again = train_ranking(
        world.ranking_set, config=RANKING, registry=world.registry, artifacts=world.artifacts, seed=SEED
    )
    assert again == world.ranking
