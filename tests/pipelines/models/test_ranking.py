"""What is refused, and what is resumed; `tests/contracts/ranker.py` has what a trained ranker keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from tests.support.pairs import Pairs, made_pairs
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
