from dataclasses import replace

import numpy as np

from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.popularity import DAY, Popularity, PopularitySettings
from pipelines.models.sequences import Sequences
from pipelines.models.vectors import QUERY_TOWER
from tests.contracts.retriever import NUM_GROUPS, RetrieverContract, walks

OPTIONS = RunOptions(seed=1)


def two_phases() -> Sequences:
    """Item 0 is used 30 times long ago, item 1 ten times last week."""
    items = np.array([0] * 30 + [1] * 10)
    times = np.concatenate([np.arange(30), 100 * DAY + np.arange(10)])
    return Sequences.of(np.arange(40) % 4, items, num_users=4, num_items=3, times=times)


def best(model: Popularity, queries: Sequences) -> list[int]:
    return model.score(queries).argmax(axis=1).tolist()


class TestPopularity(RetrieverContract):
    name = "popularity"
    learns = 0.3  # popular in a circle are its eight items: which of the three not seen yet comes next is a guess
    settings = {"half_life_days": 30.0}

    def train(self) -> Sequences:
        train = walks()
        return replace(train, segments=(np.arange(len(train)) % NUM_GROUPS).astype(np.int32))


def test_a_window_counts_the_newest_days_alone():
    train = two_phases()
    everything, week = Popularity(), Popularity(PopularitySettings(window_days=7))
    for model in (everything, week):
        model.fit(train, options=OPTIONS)
    assert best(everything, train) == [0] * 4
    assert best(week, train) == [1] * 4
    assert week.score(train)[0].tolist() == [0, 1, 0]


def test_decay_halves_an_interaction_each_half_life():
    train = two_phases()
    model = Popularity(PopularitySettings(half_life_days=50))
    model.fit(train, options=OPTIONS)
    old, new, never = model.score(train)[0]
    np.testing.assert_allclose(old / new, 30 * 0.25 / 10, rtol=1e-3)
    assert never == 0


def test_each_segment_gets_its_own_and_others_everybodys():
    users, items = np.repeat(np.arange(4), 10), np.repeat([0, 1, 1, 1], 10)
    train = replace(
        Sequences.of(users, items, num_users=4, num_items=2), segments=np.array([0, 0, 1, -1], dtype=np.int32)
    )
    model = Popularity(PopularitySettings(segment_weight=0.01))
    assert model.fit(train, options=OPTIONS).figures == {"num_segments": 2}
    np.testing.assert_allclose(model.score(train)[0], [0.5, 0.5], atol=0.01)
    np.testing.assert_allclose(model.score(train)[2], [0, 1], atol=0.01)
    stranger = replace(train.take(np.array([0])), users=np.array([-1], np.int32), segments=None)
    np.testing.assert_allclose(model.score(stranger)[0], [0.25, 0.75], atol=1e-6)
    of_known_segment = replace(stranger, segments=np.array([1], np.int32))
    assert best(model, of_known_segment) == [1]


def test_a_known_user_without_a_given_segment_has_their_own():
    train = replace(
        Sequences.of(np.array([0, 1]), np.array([0, 1]), num_users=2, num_items=2), segments=np.array([0, 1], np.int32)
    )
    model = Popularity(PopularitySettings(segment_weight=0.1))
    model.fit(train, options=OPTIONS)
    assert best(model, replace(train, segments=None)) == [0, 1]


def test_attributes_of_the_query_give_its_segment_where_serving_knows_them(tmp_path):
    users, items = np.repeat(np.arange(4), 10), np.repeat([0, 1, 1, 0], 10)
    segments = np.array([0, 1, 1, -1], np.int32)
    train = replace(Sequences.of(users, items, num_users=4, num_items=2), segments=segments)
    model = Popularity(PopularitySettings(segment_weight=0.01))
    model.fit(train, options=OPTIONS)
    layout = Layout(history_length=3, first_item=2, num_items=2, first_user=2, num_users=4, segments=(5, 7))
    model.export(tmp_path, layout=layout)
    inputs = {"user": np.array([1, 1, 2, 3, 2], np.int32)}
    inputs["attributes"] = np.array([[0, 0], [9, 5], [7, 0], [0, 0], [0, 0]], np.int32)
    (found,) = run_onnx(load_onnx(tmp_path / QUERY_TOWER), inputs).values()
    everybody, first, second = [0, 0, 1], [1, 0, 0], [0, 1, 0]
    assert found.tolist() == [everybody, first, second, second, first]
