"""Rating models as retrievers: the contract, and what their order is by."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.inputs.numbers import cyclic
from pipelines.models.contexts import Contexts
from pipelines.models.export import load_onnx, run_onnx
from pipelines.models.ratings.base import RatingPredictor
from pipelines.models.ratings.biased_factors import BiasedFactors, BiasedFactorSettings
from pipelines.models.retrievers.base import Retriever, RunOptions
from pipelines.models.retrievers.query_graph import QueryGraph
from pipelines.models.retrievers.rated import RatedCamf, RatedCamfSettings, RatedFactors, RatedSettings, _ratings
from pipelines.models.sequences import Sequences
from pipelines.models.vectors import QUERY_TOWER
from tests.contracts.retriever import (
    GROUP_SIZE,
    NUM_DEVICES,
    NUM_GROUPS,
    NUM_ITEMS,
    NUM_USERS,
    RetrieverContract,
    served_context,
    serving_layout,
    walks,
)

FACTORS = {"num_factors": 4, "bias_l2": 0.5, "factor_l2": 0.5, "history_l2": 0.1}
OPTIONS = RunOptions(seed=3)


def rated_walks() -> Sequences:
    """Walks through items of the user's own group, liked, after one of each other group, disliked."""
    rng, own = np.random.default_rng(0), walks()
    users = np.arange(NUM_USERS)
    others = (users[:, None] + np.arange(1, NUM_GROUPS)) % NUM_GROUPS * GROUP_SIZE
    disliked = others + rng.integers(0, GROUP_SIZE, others.shape)
    items = np.hstack([disliked, own.items.reshape(NUM_USERS, -1)])
    values = np.where(np.arange(items.shape[1]) < NUM_GROUPS - 1, 1.0, 5.0) + rng.normal(0, 0.1, items.shape)
    conditions = np.stack([rng.integers(-1, size, items.size) for size in (4, 2, NUM_DEVICES)], axis=1)
    return Sequences.of(
        np.repeat(users, items.shape[1]),
        items.ravel(),
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        times=np.arange(items.size),
        values=values.ravel(),
        contexts=Contexts(conditions, (4, 2, NUM_DEVICES)),
    )


class RatedContract(RetrieverContract):
    learns = 0.6  # it knows the liked group and not the order in it: two of three are right by chance

    def train(self) -> Sequences:
        return rated_walks()


class TestRatedFactors(RatedContract):
    name = "biased_factors"
    settings = FACTORS


class TestRatedCamf(RatedContract):
    name = "camf"
    settings = FACTORS | {"deviation_l2": 5.0}


@pytest.mark.parametrize("deviations", ["global", "user"])
def test_all_kinds_of_deviations_are_served_as_they_score(deviations, tmp_path):
    case = TestRatedCamf()
    case.settings = case.settings | {"deviations": deviations}
    queries, _ = case.train().take(np.arange(6)).without_last()
    queries.users[4] = -1
    model = case.fitted_on(case.train(), 1)
    case.test_what_serving_loads_scores_as_the_model_does(model, queries, tmp_path)
    # Conditions move all items alike, by as much as those of the user's own ratings, or of the mean user.
    moved = model.score(queries) - model.score(replace(queries, asked_in=None))
    own = model.user_deviations[queries.users + 1] * queries.asked_in.indicators().toarray()
    np.testing.assert_allclose(moved, np.broadcast_to(own.sum(axis=1, keepdims=True), moved.shape), atol=1e-5)
    np.testing.assert_allclose(model.user_deviations[0], model.user_deviations[1:].mean(axis=0), atol=1e-6)
    assert np.abs(moved).max() > 0.01


def fitted(kind: type[Retriever], settings: object, train: Sequences) -> Retriever:
    model = kind(settings)
    model.fit(train, options=OPTIONS)
    return model


def test_scores_are_the_predictions_of_the_rating_model():
    train = rated_walks()
    found = fitted(RatedFactors, RatedSettings(**FACTORS), train).score(train.take(np.arange(5)))
    model: RatingPredictor = BiasedFactors(BiasedFactorSettings(num_factors=4, bias_l2=0.5, factor_l2=0.5))
    model.fit(_ratings(train, "biased_factors"), seed=OPTIONS.seed)
    users, items = (codes.ravel() for codes in np.indices(found.shape))
    # Predictions are cut to the range of ratings, scores are not.
    cut = np.clip(found, train.values.min(), train.values.max())
    np.testing.assert_allclose(cut.ravel(), model.predict(users, items), atol=1e-4)


def test_what_a_new_user_used_tells_what_they_will_like():
    train = rated_walks()
    model = fitted(RatedFactors, RatedSettings(**FACTORS), train)
    # Strangers with the histories of known users, and one without any.
    queries = replace(train.keep(train.rows > 0), users=np.full(len(train), -1, np.int32))
    scores = model.score(queries)
    own = np.arange(NUM_ITEMS) // GROUP_SIZE == (np.arange(NUM_USERS) % NUM_GROUPS)[:, None]
    margin = np.where(own, scores, np.nan), np.where(own, np.nan, scores)
    assert (np.nanmean(margin[0], axis=1) > np.nanmean(margin[1], axis=1) + 0.5)[1:].all()
    np.testing.assert_allclose(scores[0], scores[0] * 0 + model.users[0, 0] + model.items @ [1, *model.users[0, 1:]])


def test_the_condition_of_a_query_decides_between_items_it_moves():
    rng, size = np.random.default_rng(0), 4_000
    items, devices = rng.integers(0, NUM_ITEMS, size), rng.integers(0, NUM_DEVICES, size)
    # Even items are liked on the first device, odd ones on the second.
    values = 3 + np.where((items + devices) % 2 == 0, 1, -1) + rng.normal(0, 0.2, size)
    conditions = np.stack([np.full(size, -1), np.full(size, -1), devices], axis=1)
    contexts = Contexts(conditions, (4, 2, NUM_DEVICES))
    users, sizes = rng.integers(0, NUM_USERS, size), {"num_users": NUM_USERS, "num_items": NUM_ITEMS}
    train = Sequences.of(users, items, values=values, contexts=contexts, **sizes)
    model = fitted(RatedCamf, RatedCamfSettings(**FACTORS, deviation_l2=2.0), train)
    asked = train.take(np.array([0, 0, 0]))
    asked = replace(asked, asked_in=Contexts(np.array([[-1, -1, 0], [-1, -1, 1], [-1, -1, -1]]), contexts.sizes))
    even = np.arange(NUM_ITEMS) % 2 == 0
    scores = model.score(asked)
    differences = scores[:, even].mean(axis=1) - scores[:, ~even].mean(axis=1)
    np.testing.assert_allclose(differences, [2, -2, 0], atol=0.3)


def test_the_graph_reads_every_hour_and_weekday_as_training_does(tmp_path):
    hours, weekdays = (numbers.ravel() for numbers in np.indices((24, 7)))
    layout = serving_layout(NUM_USERS)
    graph = QueryGraph(layout)
    graph.save(tmp_path, graph.conditions, 6 + NUM_DEVICES)
    numbers = np.concatenate([np.ones((168, 3), np.float32), cyclic(hours, 24), cyclic(weekdays, 7)], axis=1)
    devices = np.arange(168) % 5  # nothing, two unseen ones, two known ones
    inputs = {"query_numbers": numbers, "device": devices.astype(np.int32)}
    (found,) = run_onnx(load_onnx(tmp_path / QUERY_TOWER), inputs).values()
    expected = Contexts.of(hours * 1.0, weekdays * 1.0, np.maximum(devices - 3, -1), NUM_DEVICES)
    np.testing.assert_array_equal(found, expected.indicators().toarray())
    assert expected.codes[[0, 5 * 7, 6 * 7, 23 * 7 + 6], :2].tolist() == [[0, 0], [0, 0], [1, 0], [3, 1]]
    nothing = served_context(walks(2), layout)
    (found,) = run_onnx(load_onnx(tmp_path / QUERY_TOWER), nothing).values()
    assert not found.any()


@pytest.mark.parametrize(
    ("values", "found"), [(None, "none has a value"), (np.full(720, 2.5, np.float32), "all have the value 2.5")]
)
def test_events_without_ratings_are_refused(values, found):
    train = replace(rated_walks(), values=values)
    with pytest.raises(TrainingError, match=f"'biased_factors' learns from ratings, and of 720 interactions {found}"):
        RatedFactors().fit(train, options=OPTIONS)


def test_context_is_asked_for_where_there_is_none():
    train = replace(rated_walks(), contexts=None)
    with pytest.raises(TrainingError, match="none of 720 ratings has a known context"):
        RatedCamf().fit(train, options=OPTIONS)
