from dataclasses import replace

import numpy as np
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from tests.support.pairs import Pairs, made_pairs, outputs

CONFIG = RankingConfig(
    embedding_dim=4,
    hidden_units=(16,),
    settings={"num_cross_layers": 1, "projection_dim": 4},
    batch_size=128,
    epochs=5,
    learning_rate=0.02,
    num_oov_buckets=2,
)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return made_pairs()


def test_expected_values_are_in_the_unit_of_the_events(pairs):
    value, wanted = outputs(pairs.ranker(CONFIG), pairs.train)["expected_value"], pairs.train.value
    known = np.isfinite(wanted)
    assert np.abs(value[known] - wanted[known]).mean() < 0.35


def test_too_few_positives_are_refused(pairs):
    nothing = replace(pairs.train, label=np.zeros_like(pairs.train.label))
    with pytest.raises(TrainingError, match="0 of 1500 training pairs are positive"):
        pairs.ranker(CONFIG, train=nothing)


def test_values_a_loss_needs_are_missed_before_training(pairs):
    without = replace(pairs.train, value=np.full_like(pairs.train.value, np.nan))
    with pytest.raises(TrainingError, match="no positive pair has one"):
        pairs.ranker(CONFIG.model_copy(update={"loss": "weighted_logistic"}), train=without)
