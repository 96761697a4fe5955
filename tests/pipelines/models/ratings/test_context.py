"""Rating models that know the context, on ratings whose dependence on it is planted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipelines.errors import TrainingError
from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Ratings
from pipelines.models.ratings.biased_factors import BiasedFactors, BiasedFactorSettings
from pipelines.models.ratings.camf import Camf, CamfSettings
from pipelines.models.ratings.splitting import Splitting, SplittingSettings, welch
from tests.contracts.rating_predictor import RatingPredictorContract, error, planted
from tests.support.planted_context import SIZES, moved

FACTORS = {"num_factors": 3, "bias_l2": 0.5, "factor_l2": 0.5}


class TestCamf(RatingPredictorContract):
    name = "camf"
    settings = FACTORS | {"deviation_l2": 20.0}


class TestSplitting(RatingPredictorContract):
    name = "splitting"
    settings = {"settings": FACTORS, "split": "both"}


def blind_error(train: Ratings, other: Ratings) -> float:
    model = BiasedFactors(BiasedFactorSettings(**FACTORS))
    model.fit(train, seed=1)
    return error(model, other)


def camf_error(by: str, train: Ratings, other: Ratings, *, deviation_l2: float = 20.0) -> float:
    model = Camf(CamfSettings(deviations=by, deviation_l2=deviation_l2, **FACTORS))
    model.fit(train, seed=1)
    return error(model, other)


def split_error(what: str, train: Ratings, other: Ratings) -> float:
    model = Splitting(SplittingSettings(split=what, settings=FACTORS))
    model.fit(train, seed=1)
    return error(model, other)


@pytest.mark.parametrize("by", ["global", "item", "user"])
def test_deviations_tell_what_a_blind_model_cannot(by):
    train, other = moved(by)
    assert blind_error(train, other) > 0.95
    assert camf_error(by, train, other, deviation_l2=2.0) < 0.4


@pytest.mark.parametrize(("by", "split"), [("item", "items"), ("user", "users"), ("user", "both"), ("item", "both")])
def test_splitting_tells_what_a_blind_model_cannot(by, split):
    train, other = moved(by)
    assert split_error(split, train, other) < 0.5


def test_splitting_the_other_side_does_not_help():
    train, other = moved("item")
    assert split_error("users", train, other) > 0.95


@pytest.mark.parametrize("by", ["global", "item", "user"])
def test_a_context_without_effect_does_not_hurt(by):
    train, other = moved(by, effect=0.0, num_ratings=8_000)
    blind = blind_error(train, other)
    assert camf_error(by, train, other) < 1.02 * blind
    assert split_error("both", train, other) < 1.005 * blind


def test_deviations_are_the_ridge_regression_of_what_is_left():
    train = moved("item", num_ratings=2_000)[0]
    train.contexts.codes[::7, 0] = -1
    model = Camf(CamfSettings(deviations="item", deviation_l2=3, **FACTORS))
    model.fit(train, seed=1)
    blind = replace(train, contexts=None)
    model.lowest, model.highest = -np.inf, np.inf
    rest = train.values - model.predict(blind.users, blind.items)
    under = train.contexts.indicators().toarray()
    for item in (0, 7):
        rows = train.items == item
        own = under[rows]
        expected = np.linalg.solve(own.T @ own + 3 * np.eye(sum(SIZES)), own.T @ rest[rows])
        np.testing.assert_allclose(model.deviations[item], expected, atol=1e-9)


def test_the_clock_is_read_in_utc():
    monday = 1_735_516_800  # 2024-12-30T00:00:00Z
    hours = np.array([0, 6, 17, 18 + 4 * 24, 5 * 24, 6 * 24 + 23])
    found = Contexts.at(monday + 3_600 * hours)
    assert found.codes.tolist() == [[0, 0, -1], [1, 0, -1], [2, 0, -1], [3, 0, -1], [0, 1, -1], [3, 1, -1]]
    assert found.conditions[-1].tolist() == [3, 5, -1]


def test_t_is_that_of_welch():
    ratings = planted()[0]
    t = welch(ratings.contexts, ratings.items, ratings.num_items, ratings.values, num_ratings=3)
    assert not t[0].any()  # nobody rated it
    own = ratings.items == 5
    values, codes = ratings.values[own], ratings.contexts.codes[own, 0]
    expected = stats.ttest_ind(values[codes == 2], values[(codes != 2) & (codes >= 0)], equal_var=False).statistic
    np.testing.assert_allclose(t[5, 2], expected)
    few = welch(ratings.contexts, ratings.items, ratings.num_items, ratings.values, num_ratings=1_000)
    assert not few.any()


def test_attributes_of_what_was_split_are_those_of_both_halves():
    import scipy.sparse as sp

    train = moved("item")[0]
    train = replace(train, item_attributes=sp.csr_matrix(np.eye(train.num_items)))
    quick = {"num_factors": 2, "num_burn_in": 1, "num_samples": 1, "implicit": False}
    model = Splitting(SplittingSettings(model="bayesian_factors", settings=quick))
    model.fit(train, seed=1)
    divided = model._divided(train)
    assert divided.num_items == 2 * train.num_items
    halves = divided.item_attributes[divided.items].argmax(axis=1)
    np.testing.assert_array_equal(np.asarray(halves).ravel(), train.items)


@pytest.mark.parametrize("model", [Camf(), Splitting()])
def test_ratings_without_a_known_context_are_refused(model):
    train = moved("item", num_ratings=100)[0]
    train.contexts.codes[:] = -1
    with pytest.raises(TrainingError, match="none of 50 ratings has a known context"):
        model.fit(train, seed=1)


def test_ratings_of_one_item_in_two_contexts_are_two_ratings():
    contexts = Contexts(np.array([[0], [1], [0]]), (2,))
    ratings = Ratings(np.array([1, 1, 0]), np.array([2, 2, 0]), np.array([1.0, 5.0, 3.0]), 2, 3, contexts=contexts)
    matrix = ratings.matrix()
    assert matrix.data.tolist() == [3, 1, 5]
    assert matrix.indices.tolist() == [0, 2, 2]
    assert matrix.T.tocsr().nnz == 3
