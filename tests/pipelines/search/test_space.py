"""What can be written as a space, and what is said of what cannot."""

import json

import pytest

from pipelines.errors import ConfigError
from pipelines.search.space import Space, default_space


def test_lists_ranges_and_powers_are_read():
    space = Space.of(
        {
            "retrieval.dropout": "0.0..0.5",
            "retrieval.embedding_dim": "8..64",
            "retrieval.hidden_units": [[64], [128, 64]],
            "retrieval.learning_rate": "log:1e-4..1e-2",
        }
    )
    dropout, dim, hidden, rate = space.dimensions
    assert (dropout.low, dropout.high, dropout.log, dropout.num_values) == (0.0, 0.5, False, None)
    assert (dim.low, dim.high, dim.num_values) == (8, 64, 57)
    assert isinstance(dim.low, int)
    assert hidden.num_values == 2
    assert (rate.low, rate.high, rate.log) == (1e-4, 1e-2, True)
    params = {
        "retrieval.dropout": 0.1,
        "retrieval.embedding_dim": 9,
        "retrieval.hidden_units": json.dumps([128, 64]),
        "retrieval.learning_rate": 1e-3,
    }
    assert space.settings(params) == params | {"retrieval.hidden_units": [128, 64]}
    assert space.num_points is None


def test_a_space_of_lists_and_integers_can_be_listed():
    space = Space.of({"retrieval.settings.a": [1, 2, 2, None], "retrieval.settings.b": "1..4"})
    points = {json.dumps(space.settings(point), sort_keys=True) for point in space.points()}
    assert space.num_points == len(points) == 12


@pytest.mark.parametrize("spec", ["0.5", "2..1", "1..1", "log:0..1", "a..b", "0..inf", [], [3], 7, None, {"low": 1}])
def test_what_is_no_list_and_no_range_is_refused_by_name(spec):
    with pytest.raises(ConfigError, match=r"space of retrieval\.dropout is .* expected at least two values"):
        Space.of({"retrieval.dropout": spec})


@pytest.mark.parametrize("key", ["ranking.epochs", "epochs", "retrieval.model", "retrieval.min_positive_value"])
def test_only_settings_of_the_model_are_searched(key):
    with pytest.raises(ConfigError, match=f"{key} cannot be searched"):
        Space.of({key: [1, 2]})


def test_a_model_has_its_space_under_the_names_that_set_takes():
    assert default_space("ease")["retrieval.settings.l2"] == "log:10..5000"
    assert default_space("two_tower")["retrieval.temperature"] == "log:0.03..0.2"
    assert default_space("random") == {}
    with pytest.raises(ConfigError, match="model 'eas' is unknown"):
        default_space("eas")
