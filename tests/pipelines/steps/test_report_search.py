"""What is said of a search: the best settings as a file that trains with them."""

import json
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.errors import TrainingError
from pipelines.settings import load_config
from pipelines.steps.search_settings import with_settings
from tests.support.searches import Searching


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """Three trials that are done."""
    made = Searching(tmp_path_factory.mktemp("report"))
    made.run(made.plan(3, study="s"))
    return made


def test_the_best_is_told_and_the_file_trains_with_it(searching):
    search = searching.plan(3, study="s")
    config = {"dataset": "tiny", "retrieval": {"model": "ease"}, "home": "/elsewhere", "split": {"test_share": 0.2}}
    result = searching.report(search, **config)
    trials = json.loads((Path(result.uri) / "trials.json").read_text())
    best = max(trials, key=lambda one: one["value"])
    assert (result.value, result.settings) == (best["value"], best["settings"])
    assert result.num_ended == {"complete": 3}
    read = load_config(result.config)
    assert read.retrieval == with_settings(Config(**config).retrieval, result.settings)
    assert read == Config(**config).model_copy(update={"retrieval": read.retrieval})


def test_the_run_of_the_search_ends_with_best_history_and_importances(searching):
    search = searching.plan(3, study="s")
    result = searching.report(search)
    record = searching.runs.finished[search.run_id]
    assert record.metrics == {"best_value": result.value, "num_complete": 3.0}
    assert record.curves["best_so_far"][-1] == result.value
    assert {key.removeprefix("best."): value for key, value in record.tags.items()}.items() >= result.settings.items()
    assert record.artifacts == {Path(result.uri): "search"}
    assert {file.name for file in Path(result.uri).iterdir()} == {
        "best.yaml", "history.png", "importances.png", "trials.json"
    }  # fmt: skip


def test_more_trials_make_a_new_report_and_no_more_the_same(searching):
    before = searching.report(searching.plan(3, study="s"))
    assert searching.report(searching.plan(3, study="s")) == before
    search = searching.plan(4, study="s")
    searching.run(search)
    after = searching.report(search)
    assert after.uri != before.uri
    assert after.num_ended == {"complete": 4}


def test_without_a_complete_trial_the_first_reason_is_said(searching, monkeypatch):
    def diverge(*args: object, **more: object) -> None:
        raise TrainingError("the loss is nan")

    search = searching.plan(2, study="hopeless")
    with pytest.raises(TrainingError, match=r"0 of 2 trials of search 'hopeless' are complete, 0 ended\. Expected"):
        searching.report(search)
    monkeypatch.setattr("pipelines.steps.run_trials.train_into", diverge)
    searching.run(search)
    with pytest.raises(TrainingError, match="2 ended; the first failed with: the loss is nan"):
        searching.report(search)
