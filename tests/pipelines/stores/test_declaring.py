"""What is declared no more goes from the registry and the online store; all else stays."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo import repository
from pipelines import entrypoints
from pipelines.config import Config
from pipelines.entrypoints import features as of_features
from pipelines.errors import DeclarationError, FeatureStoreError
from pipelines.steps.refuse_breaking_change import taken_away
from pipelines.stores.declared import declared_services
from pipelines.stores.feature_store import FeatureStore
from tests.support.feature_data import Workspace, random_tables

GONE = {"serving_user_v2", "user_window"}
Undeclare = Callable[[set[str]], None]


@pytest.fixture
def undeclare(monkeypatch: pytest.MonkeyPatch) -> Undeclare:
    """Take declarations away, by name, as a change of `feature_repo` does."""
    every = repository.declarations()

    def take(names: set[str]) -> None:
        left = [item for item in every if item.name not in names]
        monkeypatch.setattr(repository, "declarations", lambda: list(left))

    return take


def names(store: FeatureStore) -> set[str]:
    """What the registry has of the project."""
    opened = store._open({})
    found = [*opened.list_feature_services(), *opened.list_on_demand_feature_views(), *opened.list_data_sources()]
    return {item.name for item in [*found, *opened.list_batch_feature_views(), *opened.list_entities()]}


def online_tables(home: Path) -> set[str]:
    connection = sqlite3.connect(home / "feast" / "online.db")
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
    connection.close()
    return found


def test_a_view_and_a_service_go_with_their_rows_and_the_others_stay(tmp_path: Path, undeclare: Undeclare) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=3, num_events=60)))
    neighbour = FeatureStore(home=tmp_path, dataset="tiny-too")
    for store in (workspace.store, neighbour):
        store.apply()
    workspace.store.materialize(features)
    before, elsewhere, tables = names(workspace.store), names(neighbour), online_tables(tmp_path)
    user = FeatureStore(home=tmp_path, dataset="tiny", serving_service="serving_user_v1").online_user("u1")

    undeclare(GONE)
    workspace.store.apply()

    assert before - names(workspace.store) == GONE
    assert names(FeatureStore(home=tmp_path, dataset="tiny-too")) == elsewhere
    dropped = tables - online_tables(tmp_path)
    assert dropped
    assert all("tiny_user_window" in name for name in dropped)
    assert not any("tiny_user_window" in name for name in online_tables(tmp_path))
    old = FeatureStore(home=tmp_path, dataset="tiny", serving_service="serving_user_v1")
    assert old.online_user("u1") == user
    # Features computed before bring the other views online again.
    assert workspace.store.materialize(features).keys() == features.versions.keys() - GONE


def test_it_comes_back_whole_when_it_is_declared_again(tmp_path: Path, undeclare: Undeclare) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=3, num_events=60)))
    workspace.store.apply()
    workspace.store.materialize(features)
    user = workspace.store.online_user("u1")
    undeclare(GONE)
    workspace.store.apply()
    undeclare(set())
    workspace.store.apply()
    with_window = workspace.store
    with_window.materialize(features)
    assert with_window.online_user("u1") == user


def test_cut_off_before_the_registry_is_written_it_goes_on(
    tmp_path: Path, undeclare: Undeclare, monkeypatch: pytest.MonkeyPatch
) -> None:
    import feast

    store = Workspace(tmp_path).store
    store.apply()
    undeclare(GONE)
    with monkeypatch.context() as patched:
        patched.setattr(feast.FeatureStore, "apply", lambda *_, **__: 1 / 0)
        with pytest.raises(FeatureStoreError):
            store.apply()
    assert names(store) >= GONE
    Workspace(tmp_path).store.apply()
    assert not names(Workspace(tmp_path).store) & GONE
    assert not any("tiny_user_window" in name for name in online_tables(tmp_path))


def test_services_are_read_back_as_they_were_declared(tmp_path: Path) -> None:
    store = Workspace(tmp_path).store
    assert store.applied_services() == {}
    store.apply()
    assert store.applied_services() == declared_services()
    assert taken_away(store.applied_services(), declared_services()) == []


@pytest.mark.parametrize("entrypoint", ["compute_features", "materialize_online"])
def test_a_refused_change_leaves_the_registry_as_it_was(
    tmp_path: Path, undeclare: Undeclare, monkeypatch: pytest.MonkeyPatch, entrypoint: str
) -> None:
    from pipelines.steps import refuse_breaking_change

    workspace = Workspace(tmp_path)
    computed = workspace.compute(workspace.fill(random_tables(seed=3, num_events=60)))
    workspace.store.apply()
    before = names(workspace.store)
    undeclare(GONE)
    config = Config.model_validate({"home": tmp_path, "dataset": "tiny"})
    monkeypatch.setattr(of_features, "read_config", lambda _: config)
    monkeypatch.setattr(of_features, "open_registry", lambda _: None)
    monkeypatch.setattr(refuse_breaking_change, "_served", lambda *_: [("the champion", Released())])
    monkeypatch.setattr(refuse_breaking_change, "feature_problems", lambda *_, **__: ("it reads num_values",))
    given = computed.snapshot if entrypoint == "compute_features" else computed
    with pytest.raises(DeclarationError, match="it reads num_values"):
        getattr(entrypoints, entrypoint)("", given.model_dump(mode="json"))
    assert names(Workspace(tmp_path).store) == before


class Released:
    """A manifest, as far as it is looked at."""

    dataset = "tiny"
