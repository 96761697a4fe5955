"""The rating models: the contract, and each against what is known of it."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from pipelines.errors import ConfigError
from pipelines.models.ratings.base import Ratings
from pipelines.models.ratings.bayesian_factors import BayesianFactors, BayesianFactorSettings
from pipelines.models.ratings.biases import Biases, BiasSettings
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.ratings.normal_equations import normal_equations
from tests.contracts.rating_predictor import RatingPredictorContract, error, planted


class TestBiases(RatingPredictorContract):
    name = "biases"
    reaches = 0.95


class TestBiasedFactors(RatingPredictorContract):
    name = "biased_factors"
    settings = {"num_factors": 3, "bias_l2": 0.5, "factor_l2": 0.5}


class TestBayesianFactors(RatingPredictorContract):
    name = "bayesian_factors"
    settings = {"num_factors": 3, "num_burn_in": 20, "num_samples": 30}


def test_biases_are_the_ridge_regression_on_indicators():
    train = planted()[0]
    model = Biases(BiasSettings(user_l2=2, item_l2=3, num_sweeps=200))
    model.fit(train, seed=0)
    rows = np.arange(len(train))
    design = np.zeros((len(train), train.num_users + train.num_items))
    design[rows, train.users] = design[rows, train.num_users + train.items] = 1
    penalty = np.diag([2.0] * train.num_users + [3.0] * train.num_items)
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ (train.values - model.mean))
    found = np.concatenate([model.factors.users[0, :, 0], model.factors.items[0, :, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_normal_equations_are_those_of_each_row():
    ratings = sp.csr_matrix(np.array([[1.0, 0, 2], [0, 3, 0]]))
    others = np.array([[0.5, 1, 2], [0.1, 3, 4], [0.2, 5, 6]])
    left, right = normal_equations(ratings, others)
    design = np.array([[1.0, 1, 2], [1, 5, 6]])
    np.testing.assert_allclose(left[0], design.T @ design)
    np.testing.assert_allclose(right[0], design.T @ np.array([1 - 0.5, 2 - 0.2]))


def test_attributes_tell_of_an_item_that_nobody_rated():
    train, other = planted()
    rng = np.random.default_rng(1)
    shift = rng.choice([0.0, 1.0], train.num_items)
    shift[0] = 1

    def shifted(ratings: Ratings, **columns: object) -> Ratings:
        return replace(ratings, values=ratings.values + 2 * shift[ratings.items], **columns)

    attributes = sp.csr_matrix(np.stack([shift, 1 - shift], axis=1))
    settings = BayesianFactorSettings(num_factors=3, num_burn_in=20, num_samples=30)
    told, untold = BayesianFactors(settings), BayesianFactors(settings)
    told.fit(shifted(train, item_attributes=attributes), seed=1)
    untold.fit(shifted(train), seed=1)
    users, unrated = np.arange(train.num_users), np.zeros(train.num_users, dtype=np.int64)
    assert told.predict(users, unrated).mean() > untold.predict(users, unrated).mean() + 0.5
    assert error(told, shifted(other)) < 0.4


def test_an_unknown_model_is_named():
    with pytest.raises(ConfigError, match="'knn' is unknown"):
        rating_model("knn")
