"""What is refused, and what is resumed; `tests/contracts/ranker.py` has what a trained ranker keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from pipelines.models.ranking import EVIDENCE
from tests.support.pairs import Pairs, made_pairs, outputs, popular
from tests.support.train_and_die import stopped_after

CONFIG = RankingConfig(
    embedding_dim=4, hidden_units=(16,), batch_size=128, epochs=5, learning_rate=0.02, num_oov_buckets=2
)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return made_pairs()


def test_too_few_positives_are_refused(pairs):
    nothing = replace(pairs.train, label=np.zeros_like(pairs.train.label))
    with pytest.raises(TrainingError, match="0 of 1500 training pairs are positive"):
        pairs.ranker(RankingConfig(), train=nothing)


def test_values_a_loss_needs_are_missed_before_training(pairs):
    without = replace(pairs.train, value=np.full_like(pairs.train.value, np.nan))
    with pytest.raises(TrainingError, match="no positive pair has one"):
        pairs.ranker(RankingConfig(loss="weighted_logistic"), train=without)


def test_stopped_between_epochs_it_ends_as_if_it_had_not_been(pairs, tmp_path: Path):
    expected = pairs.ranker(CONFIG)
    with stopped_after(2):
        pairs.ranker(CONFIG, checkpoints=tmp_path)
    resumed = pairs.ranker(CONFIG, checkpoints=tmp_path)
    assert (resumed.fit, resumed.metrics) == (expected.fit, expected.metrics)
    for weight, other in zip(resumed.served.variables, expected.served.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(other))
    with pytest.raises(TrainingError, match="another run"):
        pairs.ranker(CONFIG, seed=2, checkpoints=tmp_path)


def test_popularity_orders_where_neither_network_nor_retrieval_can(pairs):
    """The network has learnt tastes, and what is used in the validation window is what is popular by then."""
    later = popular(pairs.validation)
    ranker = pairs.ranker(CONFIG.model_copy(update={"epochs": 1}), validation=later)
    assert not ranker.use_for_ordering
    assert ranker.metrics["validation_retrieval_ndcg_at_10"] < 0.65
    assert ranker.metrics["validation_without_network_ndcg_at_10"] > 0.98
    scales = {name: ranker.metrics[f"calibration_{name}"] for name in EVIDENCE}
    assert max(scales, key=scales.__getitem__) == "item_num_events_7d"
    probability = outputs(ranker, later)["probability"]
    assert probability[later.label > 0].min() > probability[later.label == 0].max()


def test_where_no_evidence_tells_the_lists_apart_retrievals_order_stands(pairs):
    nothing = replace(pairs.validation, label=np.zeros_like(pairs.validation.label))
    ranker = pairs.ranker(CONFIG.model_copy(update={"epochs": 1}), validation=nothing)
    probability = outputs(ranker, nothing)["probability"]
    assert probability.max() < 0.01
    assert (
        np.corrcoef(np.argsort(np.argsort(probability)), np.argsort(np.argsort(nothing.retrieval_score)))[0, 1] > 0.99
    )
