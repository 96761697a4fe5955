"""Trials by the real training step, alone, together and killed."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import RetrievalConfig, SearchConfig
from pipelines.errors import TrainingError
from pipelines.models.retrievers.base import RunOptions
from pipelines.models.training import Fit
from pipelines.search.study import SearchStudy, Tried
from pipelines.steps.search_settings import with_settings
from pipelines.steps.train_retrieval import train_into, write_run
from pipelines.stores.base import RunRecord
from tests.support.searches import GRID, L2, SPACE, Searching, start_worker

RATE = "retrieval.settings.learning_rate"
PRUNING = SearchConfig(num_unpruned=1, prune_from_epoch=1)
YOUTUBE = {"model": "youtube", "settings": {"dim": 8, "length": 10, "epochs": 2, "xla": False}}


class Stopped(BaseException):
    """Stands for a kill in the same process."""


def stop(*args: Any, **more: Any) -> None:
    raise Stopped


def results(searching: Searching, name: str) -> list[tuple[Any, ...]]:
    """Return what does not depend on the machine's speed."""
    return [(one.slot, one.settings, one.outcome.state, one.outcome.value) for one in tried(searching, name)]


def tried(searching: Searching, name: str) -> list[Tried]:
    return SearchStudy(searching.storage, searching.folder / "search", name).tried()


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """The search `whole`, of four trials that nobody killed, without a test window to look at; others may be begun."""
    made = Searching(tmp_path_factory.mktemp("searching"))
    search = made.plan(4, study="whole")
    (Path(search.training_set.uri) / "test.parquet").unlink()
    assert made.run(search) == 4
    return made


def named(searching: Searching, name: str) -> list[RunRecord]:
    """Return what MLflow keeps of the trials of a search."""
    records = [one for one in searching.runs.records.values() if one.tags.get("tandem.search") == name]
    return sorted((one for one in records if one.name.startswith("trial")), key=lambda one: one.name)


def test_each_trial_is_a_run_below_that_of_the_search(searching):
    search, records = searching.plan(4, study="whole"), named(searching, "whole")
    assert [one.name for one in records] == ["trial 1", "trial 2", "trial 3", "trial 4"]
    for record, one in zip(records, tried(searching, "whole"), strict=True):
        assert record.params == one.settings
        assert record.params.keys() == SPACE.keys()
        assert record.metrics[search.metric] == one.outcome.value
        assert record.metrics["cost_wall_seconds"] == one.outcome.facts["cost_wall_seconds"] > 0
        assert record.tags["mlflow.parentRunId"] == search.run_id
        assert record.tags["tandem.trial_state"] == "complete"


def test_a_trial_is_the_training_step_with_its_settings(searching, tmp_path: Path):
    search, found = searching.plan(4, study="whole"), tried(searching, "whole")
    config = with_settings(RetrievalConfig(model="ease"), found[2].settings)
    train_into(tmp_path, search.training_set, config, RunOptions(seed=7), served=False)
    assert json.loads((tmp_path / "run.json").read_text())["metrics"][search.metric] == found[2].outcome.value
    assert len({one.outcome.value for one in found}) > 1


def test_a_search_that_is_done_trains_nothing(searching, monkeypatch):
    monkeypatch.setattr("pipelines.steps.run_trials.train_into", None)
    assert searching.run(searching.plan(4, study="whole")) == 0


def test_killed_in_training_and_run_again_it_ends_as_if_it_had_not_been_killed(searching):
    search = searching.plan(4, study="killed")
    worker = start_worker(searching.folder, search, killed_at="pipelines.steps.run_trials:train_into", call=2)
    assert worker.wait() == -signal.SIGKILL
    assert len(tried(searching, "killed")) == 1
    assert searching.run(search) == 3
    assert results(searching, "killed") == results(searching, "whole")


@pytest.mark.parametrize("stopped_at", ["_outcome", "_record", "Trial.end"])
def test_what_was_trained_is_not_trained_again(searching, monkeypatch, stopped_at):
    """Stopped after a trial was published, before MLflow has it, or before the study knows of it."""
    search = searching.plan(1, study=f"stopped-{stopped_at.lower()}")
    with monkeypatch.context() as patch:
        patch.setattr(f"pipelines.steps.run_trials.{stopped_at}", stop)
        with pytest.raises(Stopped):
            searching.run(search)
    assert tried(searching, search.study) == []
    monkeypatch.setattr("pipelines.steps.run_trials.train_into", None)
    assert searching.run(search) == 1
    assert len(named(searching, search.study)) == 1


def test_two_processes_at_once_share_a_grid_though_one_is_killed(searching):
    search = searching.plan(100, space=GRID, study="shared")
    killed = start_worker(searching.folder, search, killed_at="pipelines.search.study:Trial.end")
    while not list((searching.folder / "search" / "shared").glob("[0-9a-f]*.lock")):  # until it is at work
        assert killed.poll() is None
        time.sleep(0.02)
    searching.run(search)
    assert killed.wait() == -signal.SIGKILL
    searching.run(search)
    found = tried(searching, "shared")
    assert [one.slot for one in found] == list(range(6))
    assert len({tuple(one.settings.values()) for one in found}) == 6


def test_a_hopeless_trial_is_pruned_and_says_so(searching):
    search = searching.plan(2, space={RATE: [0.03, 1e-9]}, study="pruned", limits=PRUNING, **YOUTUBE)
    searching.run(search)
    good, bad = tried(searching, "pruned")
    assert (good.settings, bad.settings) == ({RATE: 0.03}, {RATE: 1e-9})
    assert good.outcome.state == "complete"
    assert good.outcome.value == max(good.outcome.epochs)
    assert len(good.outcome.epochs) == 2
    assert bad.outcome.state == "pruned"
    assert len(bad.outcome.epochs) == 1
    record = named(searching, "pruned")[1]
    assert record.name == "trial 2 pruned"
    assert record.tags["tandem.trial_state"] == "pruned"
    assert record.curves["ndcg_at_10"] == list(bad.outcome.epochs)
    assert record.metrics["cost_cpu_seconds"] > 0
    assert not list((searching.folder / "checkpoints").iterdir())


def test_what_diverges_fails_alone_with_its_reason(searching, monkeypatch):
    def diverge(folder: Path, training_set: Any, config: Any, options: Any, **more: Any) -> None:
        if config.settings["l2"] > 5:
            raise TrainingError("the loss is nan")
        write_run(folder, Fit(), validation_unseen_ndcg_at_10=0.5)

    monkeypatch.setattr("pipelines.steps.run_trials.train_into", diverge)
    search = searching.plan(2, space={L2: [1.0, 9.0]}, study="diverging")
    assert searching.run(search) == 2
    outcomes = {one.settings[L2]: one.outcome for one in tried(searching, "diverging")}
    assert outcomes[1.0].state == "complete"
    assert (outcomes[9.0].state, outcomes[9.0].value, outcomes[9.0].error) == ("failed", None, "the loss is nan")
    (record,) = (one for one in named(searching, "diverging") if one.name.endswith("failed"))
    assert record.tags["tandem.error"] == "the loss is nan"
    assert searching.run(search) == 0


def test_a_validation_window_without_rows_is_said(searching, monkeypatch):
    def measure_nothing(folder: Path, *given: Any, **more: Any) -> None:
        write_run(folder, Fit())

    monkeypatch.setattr("pipelines.steps.run_trials.train_into", measure_nothing)
    searching.run(searching.plan(1, study="unmeasured"))
    (found,) = tried(searching, "unmeasured")
    assert found.outcome.error == "no row of the validation window gives validation_unseen_ndcg_at_10"
