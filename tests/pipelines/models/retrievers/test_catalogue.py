import pytest

from pipelines.errors import ConfigError
from pipelines.models.retrievers.catalogue import (
    DEEP_FAMILIES,
    FAMILIES,
    MODELS,
    SIMPLE_FAMILIES,
    cards,
    family_of,
    listing,
    model_class,
    retriever_class,
    retriever_settings,
)


def test_every_name_is_that_of_its_card():
    assert [card.name for card in cards()] == list(MODELS)


def test_families_are_those_of_the_contract():
    """No card has another, and none of them is of no card."""
    assert {card.family for card in cards()} == FAMILIES
    assert not SIMPLE_FAMILIES & DEEP_FAMILIES


def test_the_family_of_a_stored_name_is_looked_up_and_never_imported():
    assert family_of("ease") == "linear"
    assert family_of("no_such") is family_of("this:attribute") is None


def test_the_listing_has_each_setting_with_its_default():
    settings = {model["name"]: model["settings"] for model in listing()}
    assert settings["recent_history"] == {"decay": 0.9, "popularity_weight": 0.001}
    assert settings["two_tower"]["embedding_dim"] == 64


def test_presets_are_legal_settings():
    given = [(card.name, preset) for card in cards() for preset in model_class(card.name).presets]
    assert ("sasrec", "quality") in given
    for name, preset in given:
        retriever_settings(name, preset, {})


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'no_such' is unknown; expected one of two_tower, popularity"):
        retriever_class("no_such")


def test_the_two_tower_learns_from_features():
    with pytest.raises(ConfigError, match="learns from features"):
        retriever_class("two_tower")


def test_listing_loads_no_keras():
    import subprocess
    import sys

    code = (
        "import sys; from pipelines.models.retrievers.catalogue import listing; listing(); "
        "assert not {'tensorflow', 'keras', 'implicit', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
