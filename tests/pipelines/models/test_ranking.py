"""What is refused before a network is built; `tests/contracts/ranker.py` has what a trained one keeps."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.config import RankingConfig
from pipelines.errors import TrainingError
from tests.support.pairs import Pairs, made_pairs


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
