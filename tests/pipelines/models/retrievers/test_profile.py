from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.profile import Profile, ProfileSettings
from pipelines.models.sequences import Sequences
from tests.contracts.retriever import RetrieverContract, walks

SVD = {"vectors": "svd", "vector_settings": {"num_factors": 4}}


class TestProfile(RetrieverContract):
    name = "profile"
    settings = {
        "weighting": "rated",
        "vector_settings": {"num_factors": 24, "window": 2},
        "history_decay": 0.5,
        "profile_weight": 0.1,
    }
    learns = 0.5


class TestProfileOfSvd(RetrieverContract):
    name = "profile"
    settings = {**SVD, "weighting": "plain", "liked_from": 3.0}
    learns = 0.3  # it knows the circle and not the order in it


def fitted(train: Sequences, **settings: object) -> Profile:
    model = Profile(ProfileSettings(**{**SVD, **settings}))
    model.fit(train, options=RunOptions(seed=1))
    return model


def rated() -> Sequences:
    train = walks()
    return replace(train, values=np.tile(np.array([1, 5, 3, 3, 5, 1], np.float32), len(train)))


def test_a_plain_profile_is_the_mean_of_the_liked_items():
    train = rated()
    model = fitted(train, weighting="plain", liked_from=4)
    vectors = model.items[:, :-1]  # the last factor is popularity's
    np.testing.assert_allclose(model.profiles[0], vectors[train.items[[1, 4]]].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_rated_profile_weighs_by_value_less_the_users_mean_so_dislikes_push_away():
    train = rated()
    model = fitted(train, weighting="rated")
    vectors = model.items[train.items[:6], :-1]
    np.testing.assert_allclose(model.profiles[0], np.array([-2, 2, 0, 0, 2, -2]) @ vectors / 8, atol=1e-5)


def test_equal_ratings_say_that_the_items_were_used():
    train = walks()  # all values are 5
    model = fitted(train, weighting="rated")
    np.testing.assert_allclose(model.profiles[0], model.items[train.items[:6], :-1].mean(axis=0), atol=1e-5)


def test_a_query_mixes_profile_and_history_and_a_stranger_has_the_history_alone():
    train = rated()
    model = fitted(train, weighting="rated", profile_weight=0.25, history_decay=0.5)
    query = replace(train.take(np.arange(1)).keep(np.array([1, 1, 0, 0, 0, 0], bool)), values=None)
    history = np.array([0.5, 1.0]) / 1.5 @ model.items[train.items[:2], :-1]
    np.testing.assert_allclose(model.fold_in(query)[0, :-1], 0.25 * model.profiles[0] + 0.75 * history, atol=1e-5)
    stranger = replace(query, users=np.array([-1], np.int32))
    np.testing.assert_allclose(model.fold_in(stranger)[0, :-1], 0.75 * history, atol=1e-5)


def test_settings_of_the_vectors_are_checked_before_training():
    with pytest.raises(ValidationError, match="no_such"):
        ProfileSettings(vector_settings={"no_such": 1})
