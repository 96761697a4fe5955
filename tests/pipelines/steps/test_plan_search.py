"""What a search is said to be, before anything is trained."""

from pathlib import Path

import pytest

from pipelines.config import RetrievalConfig, SearchConfig
from pipelines.errors import ConfigError
from pipelines.models.retrievers.catalogue import MODELS
from pipelines.search.space import Space, default_space
from pipelines.steps.search_settings import check_space, with_settings
from tests.support.searches import GRID, L2, Searching


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Searching:
    return Searching(tmp_path_factory.mktemp("plan"))


def test_equal_arguments_find_the_search_that_is_there(searching):
    first, again, other = searching.plan(), searching.plan(), searching.plan(space=GRID)
    assert first == again
    assert first.study.startswith("tiny-ease-")
    assert first.metric == "validation_unseen_ndcg_at_10"
    assert other.study != first.study
    assert (other.num_trials, searching.plan(9, space=GRID).num_trials) == (3, 6)


def test_the_run_says_what_is_searched_on_what(searching):
    search = searching.plan(study="said")
    (record,) = (one for one in searching.runs.records.values() if one.name == "search said")
    assert record.params[f"space.{L2}"] == "log:1.0..1000.0"
    assert record.params["metric"] == search.metric
    assert record.params["snapshot"] == "snap"
    assert record.tags["tandem.training_set"] == search.training_set.fingerprint


def test_a_name_keeps_the_training_set_that_it_was_begun_with(searching, tmp_path: Path, monkeypatch):
    kept = searching.plan(study="kept").training_set
    newer = kept.model_copy(update={"fingerprint": "newer"})
    monkeypatch.setattr("tests.support.searches.training_set", lambda folder: newer)
    assert searching.plan(study="kept").training_set == kept
    assert searching.plan().training_set == newer  # by no name, it is another search


def test_a_search_whose_training_set_is_gone_says_so(searching, monkeypatch):
    gone = searching.plan().training_set.model_copy(update={"uri": "/gone"})
    monkeypatch.setattr("tests.support.searches.training_set", lambda folder: gone)
    with pytest.raises(ConfigError, match="search 'gone' was begun on training set /gone, which is gone"):
        searching.plan(study="gone")


@pytest.mark.parametrize("num_trials", [0, 501])
def test_the_number_of_trials_has_a_bound(searching, num_trials):
    with pytest.raises(ConfigError, match=rf"{num_trials} trials were asked for; expected 1 to 500"):
        searching.plan(num_trials)
    assert searching.plan(501, study="many", limits=SearchConfig(max_trials=600)).num_trials == 501


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"retrieval.settings.l3": "1.0..2.0"}, "l3: Extra inputs are not permitted"),
        ({L2: "-1.0..5.0"}, "l2: Input should be greater than 0"),
        ({L2: [1.0, 0.0]}, "l2: Input should be greater than 0"),
        ({"retrieval.epochz": [1, 2]}, r"retrieval\.epochz: Extra inputs are not permitted"),
        ({"retrieval.epochs.most": [1, 2]}, "epochs holds a value, not a section"),
    ],
)
def test_a_setting_that_is_not_the_models_is_named_before_anything_is_trained(searching, space, message):
    with pytest.raises(ConfigError, match=message) as error:
        searching.plan(space=space)
    assert "\n" not in str(error.value)


def test_a_model_without_a_space_asks_for_one(searching):
    with pytest.raises(ConfigError, match=r"model 'random' has no settings that are searched by default"):
        searching.plan(space=None, model="random")


@pytest.mark.parametrize("model", [name for name in MODELS if default_space(name)])
def test_every_models_own_space_is_legal(model):
    check_space(Space.of(default_space(model)), RetrievalConfig(model=model))


def test_settings_are_changed_below_the_section_and_the_rest_stays():
    base = RetrievalConfig(model="ease", settings={"row_norm": 0.5})
    changed = with_settings(base, {L2: 3.0, "retrieval.num_oov_buckets": 4})
    assert changed.settings == {"row_norm": 0.5, "l2": 3.0}
    assert changed.num_oov_buckets == 4
    assert base.settings == {"row_norm": 0.5}
