"""A study shared by workers that live, die and come back."""

import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.search import study as module
from pipelines.search.study import Outcome, SearchStudy, define

RATE, SIZE = "retrieval.learning_rate", "retrieval.embedding_dim"
REAL = {RATE: "log:1e-4..1e-1", SIZE: "8..64"}
GRID = {RATE: [0.1, 0.01, 0.001], SIZE: [8, 16]}
PRUNING = {"num_unpruned": 2, "prune_from_epoch": 2}


class Killed(BaseException):
    """Stands for a kill in the same process."""


class Place:
    """A storage and its folder, with studies of this test's own."""

    def __init__(self, storage: Any, folder: Path, test: str) -> None:
        self.storage, self.folder, self.test = storage, folder, test

    def begin(self, num_trials: int, *, name: str = "a", space: Any = REAL, pruning: Any = None, **more: Any) -> str:
        full = f"{self.test}-{name}"
        definition = {"space": space, "seed": 7, "pruning": pruning, **more}
        define(self.storage, full, definition, pinned={"training_set": 1}, num_trials=num_trials)
        return full

    def open(self, name: str) -> SearchStudy:
        return SearchStudy(self.storage, self.folder, name)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A storage in memory, which is quick; the tests of the steps have a file, and processes that share it."""
    from optuna.storages import InMemoryStorage

    return InMemoryStorage(), tmp_path_factory.mktemp("searches")


@pytest.fixture
def place(storage: tuple[Any, Path], request: pytest.FixtureRequest) -> Place:
    return Place(*storage, re.sub(r"\W|_", "-", request.node.name)[:80])


def value(settings: dict[str, Any]) -> float:
    """Best at a rate of .01 and a size of 32."""
    return -abs(math.log10(settings[RATE]) + 2) - abs(settings[SIZE] - 32) / 100


def epochs(settings: dict[str, Any]) -> tuple[float, ...]:
    return tuple(value(settings) - 1 / epoch for epoch in (1, 2, 3))


def work(study: SearchStudy, *, most: int = 1_000) -> None:
    """Do up to `most` trials, each of three epochs."""
    with study.working():
        for _ in range(most):
            trial = study.claim()
            if trial is None:
                return
            seen = epochs(trial.settings)
            pruned = next((epoch for epoch in (1, 2, 3) if trial.report(seen[:epoch])), None)
            if pruned:
                trial.end(Outcome("pruned", seen[pruned - 1], seen[:pruned]))
            else:
                trial.end(Outcome("complete", value(trial.settings), seen, facts={"cost_wall_seconds": 1.0}))


@pytest.fixture
def killed_claim(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that claims once and is killed at a call of an attribute."""
    del place

    def claim(study: SearchStudy, target: Any, attribute: str) -> None:
        def die(*args: Any, **kwargs: Any) -> None:
            raise Killed

        with monkeypatch.context() as patch, study.working():
            patch.setattr(target, attribute, die)
            with pytest.raises(Killed):
                study.claim()

    return claim


@pytest.fixture(scope="module")
def whole(storage: tuple[Any, Path]) -> SearchStudy:
    """A study that nobody killed."""
    place = Place(*storage, "never-killed")
    study = place.open(place.begin(13, pruning=PRUNING))
    work(study)
    return study


def test_every_slot_is_tried_once_and_the_best_is_known(whole):
    tried = whole.tried()
    assert [one.slot for one in tried] == list(range(13))
    assert {one.outcome.state for one in tried} == {"complete", "pruned"}
    best = whole.best()
    assert best.outcome.value == max(one.outcome.value for one in tried)
    assert best.outcome.facts == {"cost_wall_seconds": 1.0}
    shares = whole.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {RATE, SIZE}


def test_what_is_proposed_gets_better_with_what_is_known(place):
    study = place.open(place.begin(30))
    work(study)
    values = [one.outcome.value for one in study.tried()]
    assert sum(values[20:]) / 10 > sum(values[:10]) / 10 + 0.5


def test_a_grid_is_tried_to_its_last_point_though_good_ones_are_proposed_again(place):
    study = place.open(place.begin(100, space={RATE: [0.1, 0.03, 0.01, 0.001], SIZE: "30..34"}))
    work(study)
    assert len(study.tried()) == len({tuple(one.settings.values()) for one in study.tried()}) == 20


@pytest.mark.parametrize("done", [3, 11])
def test_killed_and_gone_on_with_it_is_the_study_that_was_never_killed(place, whole, done):
    name = place.begin(13, pruning=PRUNING)
    first = place.open(name)
    work(first, most=done)
    with first.working():  # dies with a trial under way, one epoch reported
        lost = first.claim()
        lost.report(epochs(lost.settings)[:1])
    again = place.open(name)
    work(again)
    assert again.tried() == whole.tried()


@pytest.mark.parametrize("attribute", ["enqueue_trial", "ask", "tell"])
def test_killed_while_it_claims_the_next_one_is_the_same(place, whole, killed_claim, attribute):
    study = place.open(place.begin(4, pruning=PRUNING))
    work(study, most=2)
    if attribute == "tell":  # who buries the dead is killed
        with study.working():
            study.claim()
    killed_claim(study, study._study, attribute)
    work(study)
    assert study.tried() == whole.tried()[:4]


def test_killed_between_claim_and_its_owner_the_slot_is_free(place, killed_claim):
    import optuna

    study = place.open(place.begin(2))
    killed_claim(study, optuna.trial.Trial, "set_user_attr")
    work(study)
    assert len(study.tried()) == 2


def test_the_dead_are_replaced_and_the_living_left_alone(place):
    name = place.begin(3)
    living, dead, third = (place.open(name) for _ in range(3))
    with living.working():
        kept = living.claim()
        with dead.working():
            lost = dead.claim()
            with third.working():
                other = third.claim()
                other.end(Outcome("complete", 0.5))
                assert third.claim() is None
        with third.working():
            again = third.claim()
            assert (again.slot, again.settings) == (lost.slot, lost.settings)
            again.end(Outcome("complete", 0.6))
            assert third.claim() is None
        kept.end(Outcome("complete", 0.7, (0.1, 0.7)))  # trained before: it was not told of epochs
    assert [one.outcome.value for one in living.tried()] == [0.7, 0.6, 0.5]
    assert [one.settings for one in living.tried()] == [kept.settings, lost.settings, other.settings]
    assert living.tried()[0].outcome.epochs == (0.1, 0.7)


def test_what_the_dead_tried_is_tried_again_though_more_is_known_by_now(place):
    name = place.begin(12)
    study, dead = place.open(name), place.open(name)
    work(study, most=10)
    with study.working():
        with dead.working():
            lost = dead.claim()
            study.claim().end(Outcome("complete", 9.0))
        again = study.claim()
    assert (again.slot, again.settings) == (lost.slot, lost.settings)


def test_workers_at_once_share_the_points_of_a_grid_and_stop_at_its_end(place):
    name = place.begin(50, space=GRID)
    start, studies = threading.Barrier(3), [place.open(name) for _ in range(3)]

    def run(study: SearchStudy) -> None:
        start.wait()
        work(study)

    threads = [threading.Thread(target=run, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tried = studies[0].tried()
    assert studies[0].num_trials == len(tried) == 6
    assert len({(one.settings[RATE], one.settings[SIZE]) for one in tried}) == 6


def test_a_bad_trial_is_pruned_when_enough_are_complete_and_not_before(place):
    study = place.open(place.begin(4, pruning=PRUNING))
    curves = [(0.1, 0.2, 0.3), (0.0, 0.01, 0.02), (0.0, 0.05, 0.9), (0.0, 0.3, 0.5)]
    with study.working():
        ended = []
        for curve in curves:
            trial = study.claim()
            stopped = next((epoch for epoch in (1, 2, 3) if trial.report(curve[:epoch])), None)
            state = "pruned" if stopped else "complete"
            trial.end(Outcome(state, curve[(stopped or 3) - 1], curve[: stopped or 3]))
            ended.append(stopped)
    assert ended == [None, None, 2, None]  # not at the first epoch; and not when it is above the median
    assert study.tried()[2].outcome == Outcome("pruned", 0.05, (0.0, 0.05))
    assert study.best().slot == 3


def test_what_cannot_be_trained_is_not_tried_again(place):
    study = place.open(place.begin(2))
    with study.working():
        study.claim().end(Outcome("failed", error="the loss is nan"))
        study.claim().end(Outcome("complete", 0.5))
        assert study.claim() is None
    failed, complete = study.tried()
    assert failed.outcome == Outcome("failed", None, (), "the loss is nan")
    assert study.best() == complete
    assert study.importances() == {}


def test_of_equal_trials_the_first_is_best(place):
    study = place.open(place.begin(3))
    with study.working():
        for reached in (0.1, 0.5, 0.5):
            study.claim().end(Outcome("complete", reached))
    assert study.best().slot == 1


def test_more_trials_may_be_asked_for_and_fewer_take_none_back(place):
    assert place.open(place.begin(3)).num_trials == 3
    assert place.open(place.begin(5)).num_trials == 5
    assert place.open(place.begin(2)).num_trials == 5


def test_another_search_of_the_same_name_says_what_differs(place):
    name = place.begin(3, model="ease")
    with pytest.raises(ConfigError, match=f"search '{name}' was begun with another model, space; expected the same"):
        place.begin(3, model="svd", space=GRID)


def test_a_definition_that_was_killed_half_way_is_written_by_the_next(place, monkeypatch):
    import optuna

    def die(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", die)
        with pytest.raises(Killed):
            place.begin(3)
    with pytest.raises(ConfigError, match="there is no search"):
        place.open(f"{place.test}-a")
    assert place.open(place.begin(3)).pinned == {"training_set": 1}


@pytest.mark.parametrize("name", ["", "../up", "Big", "a b", "x" * 101])
def test_a_name_is_one_that_a_folder_can_have(place, name):
    with pytest.raises(ConfigError, match="is not a name"):
        module.checked_name(name)


def test_a_search_that_nobody_began_is_not_there(place):
    with pytest.raises(ConfigError, match="there is no search 'nothing'"):
        place.open("nothing")
