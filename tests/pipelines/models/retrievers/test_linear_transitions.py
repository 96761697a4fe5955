from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.linear_transitions import LinearTransitions, LinearTransitionSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import DAY, RetrieverContract


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


class TestLinearTransitionsInTime(RetrieverContract):
    name = "linear_transitions"
    settings = {"l2": 1.0, "elapsed_bounds": (DAY + 1, 3 * DAY)}


def pages(*, pause: int) -> Sequences:
    """Histories of pages: item 0 is followed by 1 in its second, and by 2 after a pause."""
    items, times = np.tile([0, 1, 0, 2], (8, 1)), np.tile([0, 0, pause, 2 * pause], (8, 1))
    return Sequences.of(np.repeat(np.arange(8), 4), items.ravel(), num_users=8, num_items=3, times=times.ravel())


def test_what_follows_in_the_same_second_is_told_apart_from_what_follows_later():
    model = LinearTransitions(LinearTransitionSettings(l2=0.1, num_after=1, elapsed_bounds=(1,)))
    model.fit(pages(pause=60), options=RunOptions(seed=1))
    asked = Sequences.of(np.array([0, 1]), np.array([0, 0]), num_users=2, num_items=3, times=np.array([5, 5]))
    np.testing.assert_array_equal(model.score(replace(asked, moments=np.array([5, 65]))).argmax(axis=1), [1, 2])
    unknown = replace(asked, times=None, moments=None)
    np.testing.assert_array_equal(model.score(unknown).argmax(axis=1), [2, 2])


def test_a_span_begins_at_its_bound():
    model = LinearTransitions(LinearTransitionSettings(l2=0.1, num_after=1, elapsed_bounds=(60,)))
    model.fit(pages(pause=60), options=RunOptions(seed=1))
    asked = Sequences.of(np.array([0, 1]), np.array([0, 0]), num_users=2, num_items=3, times=np.array([5, 5]))
    np.testing.assert_array_equal(model.score(replace(asked, moments=np.array([64, 65]))).argmax(axis=1), [1, 2])


def test_spans_of_time_without_times_are_refused():
    train = replace(pages(pause=60), times=None)
    with pytest.raises(TrainingError, match="no times"):
        LinearTransitions(LinearTransitionSettings(elapsed_bounds=(1,))).fit(train, options=RunOptions(seed=1))


@pytest.mark.parametrize("bounds", [(60, 60), (60, 1), (0,)])
def test_bounds_that_do_not_ascend_from_a_second_are_refused(bounds: tuple[int, ...]):
    with pytest.raises(ValidationError, match="elapsed_bounds"):
        LinearTransitionSettings(elapsed_bounds=bounds)
