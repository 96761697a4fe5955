import numpy as np

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.linear_transitions import LinearTransitions, LinearTransitionSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract


class TestLinearTransitions(RetrieverContract):
    name = "linear_transitions"
    settings = {"l2": 1.0}


def test_it_is_the_ridge_regression_of_the_decayed_future_on_the_decayed_past():
    train = Sequences.of(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 0]), num_users=2, num_items=3)
    decays = {"before_decay": 0.5, "after_decay": 0.25}
    model = LinearTransitions(LinearTransitionSettings(l2=2, num_before=2, num_after=2, **decays))
    model.fit(train, options=RunOptions(seed=1))
    before = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0, 0, 0], [0, 1, 0]])
    after = np.array([[1, 0.25, 0], [0, 1, 0.25], [0, 0, 1], [0.25, 1, 0], [1, 0, 0]])
    expected = np.linalg.solve(before.T @ before + 2 * np.eye(3), before.T @ after)
    np.testing.assert_allclose(model.weights, expected, rtol=1e-5, atol=1e-6)
