import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import ConfigError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.retrievers.catalogue import (
    DEEP_FAMILIES,
    FAMILIES,
    MODELS,
    SIMPLE_FAMILIES,
    cards,
    configured_class,
    family_of,
    listing,
    model_class,
    retriever_class,
    retriever_settings,
)
from tests.contracts.retriever import walks


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


SIZES = {"small", "medium", "large"}


@pytest.mark.parametrize("name", ["gru", "sasrec", "hstu", "id_two_tower"])
def test_models_whose_cost_grows_with_the_data_have_a_preset_a_size(name):
    presets = {preset: retriever_settings(name, preset, {}) for preset in model_class(name).presets}
    assert presets.keys() >= SIZES
    assert presets["small"].epochs > presets["medium"].epochs > presets["large"].epochs


def test_parts_of_preset_blends_are_legal_and_are_told_no_times():
    for preset in model_class("blend").presets:
        for part in retriever_settings("blend", preset, {}).parts:
            settings = retriever_settings(part.model, None, part.settings)
            assert not getattr(settings, "use_times", False)
            assert not getattr(settings, "elapsed_bounds", ())


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        (name, preset)
        for name in ("ease", "als", "transitions", "linear_transitions")
        for preset in model_class(name).presets
    ]
    + [("blend", "linear"), ("blend", "ease_als")],
)
def test_cheap_presets_train(name, preset):
    train = walks(30)
    model = retriever_class(name)(retriever_settings(name, preset, {}))
    model.fit(train, options=RunOptions(seed=1))
    scores = model.score(train)
    assert scores.shape == (30, train.num_items)
    assert np.isfinite(scores).all()
    assert scores.any()


def test_settings_given_go_over_a_preset():
    settings = retriever_settings("ease", "quality", {"l2": 7.0})
    assert (settings.l2, settings.row_norm) == (7.0, 0.5)


def test_an_unknown_preset_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="no preset 'best'; expected one of: quality, short_rows, next_item"):
        retriever_settings("ease", "best", {})


def test_the_listing_has_presets_in_json():
    presets = {model["name"]: model["presets"] for model in json.loads(json.dumps(listing()))}
    assert presets["blend"].keys() == {"quality", "small", "medium", "linear", "ease_als"}
    assert presets["two_tower"] == {}


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


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module outside the repository with a retriever, and things that are none."""
    (tmp_path / "own_models_of_a_test.py").write_text(
        "from pipelines.models.retrievers.base import Retriever\n"
        "from pipelines.models.retrievers.ease import Ease\n"
        "class Mine(Ease): pass\n"
        "class Unfinished(Retriever): pass\n"
        "class Bare(Retriever):\n"
        "    def fit(self, train, *, options, validation=None): ...\n"
        "    def score(self, queries): ...\n"
        "number = 1\n"
    )
    (tmp_path / "broken_models_of_a_test.py").write_text("def\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_models_of_a_test"


def test_a_configuration_may_name_a_class_elsewhere(own_module):
    assert issubclass(configured_class(f"{own_module}:Mine"), configured_class("ease"))
    assert configured_class("ease") is retriever_class("ease")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module:Mine", "module 'no_such_module' cannot be imported"),
        ("broken_models_of_a_test:Mine", "module 'broken_models_of_a_test' cannot be imported"),
        ("own_models_of_a_test:Yours", "found no 'Yours'"),
        ("own_models_of_a_test:number", "is no retriever"),
        ("own_models_of_a_test:Unfinished", "is no retriever"),
        ("own_models_of_a_test:Bare", "lacks card and Settings"),
        ("pipelines.models.retrieval:TwoTowerModel", "is no retriever"),
        ("own_models_of_a_test:", "expected a name of `tandem models`, or package.module:Class"),
        ("../own:Mine", "expected a name of `tandem models`, or package.module:Class"),
        (":Mine", "expected a name of `tandem models`, or package.module:Class"),
    ],
)
def test_what_cannot_be_a_model_is_refused_in_a_line(own_module, name, told):
    with pytest.raises(ConfigError, match=told) as caught:
        configured_class(name)
    assert "\n" not in str(caught.value)


def test_names_that_may_have_been_stored_are_of_the_catalogue_alone(own_module):
    """Parts of a blend, baselines and searches are looked up so."""
    for find in (model_class, retriever_class):
        with pytest.raises(ConfigError, match="is unknown"):
            find(f"{own_module}:Mine")
