"""A change of features that would break what is served is stopped before it reaches the feature store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts import CHAMPION, RECOMMENDER, ModelVersion, Snapshot
from pipelines.errors import DeclarationError, PlatformError, RegistryError
from pipelines.release import history
from pipelines.release.history import Move
from pipelines.release.manifest import IndexPart, ReleaseManifest, write_manifest
from pipelines.steps import check_features, refuse_breaking_change
from pipelines.stores.base import RunRecord
from tests.support.memory_registry import MemoryRegistry

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
USER = {"recent_items": "list<string>", "seen_items": "list<string>", "num_values": "int64"}
APPLIED = {
    "retrieval_v1": {},
    "ranking_v1": {},
    "serving_user_v1": {"seen_items": "list<string>"},
    "serving_user_v2": USER,
}


class Store:
    """The feature store, as it was applied last."""

    def applied_services(self) -> dict[str, dict[str, str]]:
        return APPLIED


class Serving:
    """The serving component: a version answers, or nothing does."""

    def __init__(self, version: str | None = None, *, up: bool = True) -> None:
        self.version, self.up = version, up

    def release(self) -> dict[str, Any]:
        if not self.up:
            raise PlatformError("serving cannot be reached")
        return {"version": self.version}


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    """Releases 1, of serving_user_v1, and 2, of serving_user_v2, which is champion."""
    made = MemoryRegistry(tmp_path / "registry")
    for number in (1, 2):
        release(
            made,
            tmp_path / f"r{number}",
            user=f"serving_user_v{number}",
            user_features=APPLIED[f"serving_user_v{number}"],
        )
    made.set_alias(RECOMMENDER, CHAMPION, "2")
    return made


def release(registry: MemoryRegistry, folder: Path, *, user: str, dataset: str = "tiny", user_features: Any) -> None:
    towers = ModelVersion(name="retrieval", version="1", run_id="r", dataset=dataset, digest="d")
    index = IndexPart(
        retrieval_version="1", retrieval_digest="d", kind="brute_force", num_items=4, embedding_dim=8, recall={}
    )
    folder.mkdir()
    write_manifest(
        folder,
        ReleaseManifest(
            dataset=dataset,
            feast_project=dataset,
            feature_services={"retrieval": "retrieval_v1", "ranking": "ranking_v1", "user": user},
            user_features=user_features,
            snapshot=Snapshot(dataset=dataset, snapshot_id="s", as_of=AS_OF, versions={}),
            as_of=AS_OF,
            history_length=5,
            num_candidates=10,
            retrieval=towers,
            ranking=towers.model_copy(update={"name": "ranking"}),
            index=index,
            metrics={},
            sample_users=(),
            files={},
        ),
    )
    registry.register(RECOMMENDER, folder, key=folder.name, dataset=dataset, record=RunRecord(name="r"))


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What is declared: at first what was applied."""
    services = {name: dict(features) for name, features in APPLIED.items()}
    for module in (check_features, refuse_breaking_change):
        monkeypatch.setattr(module, "declared_services", lambda: services)
    return services


def refuse(registry: MemoryRegistry, *, dataset: str = "tiny", serving: Serving | None = None) -> None:
    served: Any = {"store": Store(), "open_registry": lambda: registry, "serving": serving or Serving("2")}
    refuse_breaking_change.refuse_breaking_change(dataset=dataset, **served)


@pytest.mark.parametrize("feature", ["seen_items", "num_values"])
def test_a_feature_that_serving_alone_reads_is_not_taken_away(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]], feature: str
) -> None:
    del declared["serving_user_v2"][feature]
    with pytest.raises(DeclarationError, match=f"{feature} is not in service serving_user_v2.*docs/features.md") as e:
        refuse(registry)
    assert "\n" not in str(e.value)
    assert "serving of the champion reads it" in str(e.value)


def test_a_feature_that_serving_alone_reads_keeps_its_type(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    declared["serving_user_v2"]["num_values"] = "double"
    with pytest.raises(DeclarationError, match=r"num_values of service serving_user_v2 is double.*expects int64"):
        refuse(registry)


def test_a_release_of_before_that_was_written_down_is_held_against_what_was_applied(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    release(registry, tmp_path / "older", user="serving_user_v2", user_features={})
    registry.set_alias(RECOMMENDER, CHAMPION, "3")
    del declared["serving_user_v2"]["seen_items"]
    with pytest.raises(DeclarationError, match="seen_items"):
        refuse(registry, serving=Serving("3"))


def test_what_no_release_reads_may_go(registry: MemoryRegistry, declared: dict[str, dict[str, str]]) -> None:
    del declared["serving_user_v1"]
    refuse(registry)
    refuse(registry, serving=Serving(up=False))


def test_what_serving_answers_from_counts_beside_the_champion(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    del declared["serving_user_v1"]
    with pytest.raises(DeclarationError, match="serving_user_v1 is not declared; serving of release 1 needs it"):
        refuse(registry, serving=Serving("1"))


def test_both_sides_of_a_move_that_was_begun_count(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    asked: Any = {"reason": "", "by": "me", "at": AS_OF, "run": "r"}
    history.begin(registry, Move(number=1, kind="rollback", version="1", previous="2", **asked))
    del declared["serving_user_v1"]
    with pytest.raises(DeclarationError, match="release 1"):
        refuse(registry)


def test_a_champion_of_another_data_set_has_features_of_its_own(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    del declared["serving_user_v2"]
    refuse(registry, dataset="other")


def test_without_a_champion_everything_goes(registry: MemoryRegistry, declared: dict[str, dict[str, str]]) -> None:
    registry.clear_alias(RECOMMENDER, CHAMPION)
    declared.clear()
    refuse(registry, serving=Serving(None))


def test_what_takes_nothing_away_does_not_need_the_model_registry(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    registry.down = True
    declared["serving_user_v9"] = {"mood": "float"}
    refuse(registry)


def test_what_takes_something_away_waits_for_the_model_registry(
    registry: MemoryRegistry, declared: dict[str, dict[str, str]]
) -> None:
    registry.down = True
    del declared["serving_user_v1"]
    with pytest.raises(RegistryError, match=r"serving_user_v1 is not declared any more.*MLflow answers"):
        refuse(registry)
