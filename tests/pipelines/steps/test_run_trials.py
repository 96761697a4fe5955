"""Trials by the real training step, alone, together and killed."""

import signal
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import SearchConfig
from pipelines.errors import TrainingError
from pipelines.models.training import Fit
from pipelines.search.study import SearchStudy, Tried
from pipelines.steps.train_retrieval import train_into, write_run
from tests.support.searches import GRID, L2, SPACE, Searching, start_worker

RATE = "retrieval.settings.learning_rate"
PRUNING = SearchConfig(num_unpruned=1, prune_from_epoch=1)
YOUTUBE = {"model": "youtube", "settings": {"dim": 8, "length": 10, "epochs": 3, "patience": 3, "xla": False}}


def results(searching: Searching, name: str) -> list[tuple[Any, ...]]:
    """Return what does not depend on the machine's speed."""
    return [(one.slot, one.settings, one.outcome.state, one.outcome.value) for one in tried(searching, name)]


def tried(searching: Searching, name: str) -> list[Tried]:
    return SearchStudy(searching.storage, searching.folder / "search", name).tried()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Searching:
    """A search of four trials that nobody killed, without a test window to look at."""
    searching = Searching(tmp_path_factory.mktemp("whole"))
    search = searching.plan(4, study="s")
    (Path(search.training_set.uri) / "test.parquet").unlink()
    assert searching.run(search) == 4
    return searching


def test_each_trial_is_a_run_below_that_of_the_search(whole):
    search = whole.plan(4, study="s")
    records = sorted((one for one in whole.runs.records.values() if one.name.startswith("trial")), key=lambda r: r.name)
    assert [one.name for one in records] == ["trial 1", "trial 2", "trial 3", "trial 4"]
    for record, one in zip(records, tried(whole, "s"), strict=True):
        assert record.params == one.settings
        assert record.params.keys() == SPACE.keys()
        assert record.metrics[search.metric] == one.outcome.value
        assert record.metrics["cost_wall_seconds"] == one.outcome.facts["cost_wall_seconds"] > 0
        assert record.tags["mlflow.parentRunId"] == search.run_id
        assert record.tags["tandem.trial_state"] == "complete"


def test_settings_make_a_difference_and_are_those_of_the_step(whole, tmp_path: Path):
    import json

    from pipelines.config import RetrievalConfig
    from pipelines.models.retrievers.base import RunOptions
    from pipelines.steps.search_settings import with_settings

    search, one = whole.plan(4, study="s"), tried(whole, "s")[2]
    train_into(
        tmp_path, search.training_set, with_settings(RetrievalConfig(model="ease"), one.settings), RunOptions(seed=7)
    )
    assert json.loads((tmp_path / "run.json").read_text())["metrics"][search.metric] == one.outcome.value
    assert len({other.outcome.value for other in tried(whole, "s")}) > 1


def test_a_search_that_is_done_trains_nothing(whole, monkeypatch):
    monkeypatch.setattr("pipelines.steps.run_trials.train_into", None)
    assert whole.run(whole.plan(4, study="s")) == 0


@pytest.mark.parametrize(
    ("killed_at", "call"),
    [
        ("pipelines.steps.run_trials:train_into", 2),
        ("pipelines.steps.run_trials:_record", 3),  # trained and published, not yet in MLflow
    ],
)
def test_killed_and_run_again_it_ends_as_if_it_had_not_been_killed(whole, tmp_path: Path, killed_at, call):
    searching = Searching(tmp_path)
    search = searching.plan(4, study="s")
    assert start_worker(tmp_path, search, killed_at=killed_at, call=call).wait() == -signal.SIGKILL
    assert len(tried(searching, "s")) == call - 1
    assert searching.run(search) == 4 - (call - 1)
    assert results(searching, "s") == results(whole, "s")


def test_two_processes_at_once_share_a_grid_though_one_is_killed(tmp_path: Path):
    searching = Searching(tmp_path)
    search = searching.plan(100, space=GRID, study="s")
    killed = start_worker(tmp_path, search, killed_at="pipelines.search.study:Trial.end", call=1)
    other = start_worker(tmp_path, search)
    assert killed.wait() == -signal.SIGKILL
    assert other.wait() == 0
    searching.run(search)
    found = tried(searching, "s")
    assert [one.slot for one in found] == list(range(6))
    assert len({tuple(one.settings.values()) for one in found}) == 6


def test_a_hopeless_trial_is_pruned_and_says_so(tmp_path: Path):
    searching = Searching(tmp_path)
    search = searching.plan(2, space={RATE: [0.03, 1e-9]}, study="s", limits=PRUNING, **YOUTUBE)
    searching.run(search)
    good, bad = tried(searching, "s")
    assert (good.settings, bad.settings) == ({RATE: 0.03}, {RATE: 1e-9})
    assert good.outcome.state == "complete"
    assert good.outcome.value == max(good.outcome.epochs)
    assert len(good.outcome.epochs) == 3
    assert bad.outcome.state == "pruned"
    assert len(bad.outcome.epochs) == 1
    (record,) = (one for one in searching.runs.records.values() if one.name == "trial 2 pruned")
    assert record.tags["tandem.trial_state"] == "pruned"
    assert record.curves["ndcg_at_10"] == list(bad.outcome.epochs)
    assert record.metrics["cost_cpu_seconds"] > 0
    assert not list((tmp_path / "checkpoints").iterdir())


def test_what_diverges_fails_alone_with_its_reason(tmp_path: Path, monkeypatch):
    def diverge(folder: Path, training_set: Any, config: Any, options: Any, **more: Any) -> None:
        if config.settings["l2"] > 5:
            raise TrainingError("the loss is nan")
        write_run(folder, Fit(), validation_unseen_ndcg_at_10=0.5)

    monkeypatch.setattr("pipelines.steps.run_trials.train_into", diverge)
    searching = Searching(tmp_path)
    search = searching.plan(2, space={L2: [1.0, 9.0]}, study="s")
    assert searching.run(search) == 2
    states = {one.settings[L2]: one.outcome for one in tried(searching, "s")}
    assert states[1.0].state == "complete"
    assert (states[9.0].state, states[9.0].value, states[9.0].error) == ("failed", None, "the loss is nan")
    (record,) = (one for one in searching.runs.records.values() if one.name.endswith("failed"))
    assert record.tags["tandem.error"] == "the loss is nan"
    assert searching.run(search) == 0


def test_a_crash_is_no_result(tmp_path: Path, monkeypatch):
    def crash(*args: Any, **more: Any) -> None:
        raise MemoryError

    searching = Searching(tmp_path)
    search = searching.plan(1, study="s")
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("pipelines.steps.run_trials.train_into", crash)
        searching.run(search)
    assert tried(searching, "s") == []
    assert searching.run(search) == 1
