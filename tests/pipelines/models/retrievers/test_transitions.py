import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.transitions import Transitions, TransitionSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract


class TestTransitions(RetrieverContract):
    name = "transitions"


def test_it_counts_what_followed_at_each_distance_within_a_user():
    train = Sequences.of(np.array([0, 0, 0, 1, 1]), np.array([2, 0, 1, 2, 0]), num_users=2, num_items=3)
    model = Transitions(TransitionSettings(num_steps=2, step_decay=0.5))
    model.fit(train, options=RunOptions(seed=1))
    assert model.weights.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [2, 0.5, 0]]


def test_counts_are_divided_by_those_of_both_items():
    train = Sequences.of(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 2]), num_users=2, num_items=3)
    model = Transitions(TransitionSettings(source_norm=1, target_norm=0))
    model.fit(train, options=RunOptions(seed=1))
    assert model.weights.toarray()[0].tolist() == [0, 0.5, 0.5]
