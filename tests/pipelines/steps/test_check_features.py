"""A change of features that would break the champion is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.release.manifest import IndexPart, ReleaseManifest, write_manifest
from pipelines.steps import check_features as step
from pipelines.stores.base import RunRecord
from tests.support.trained_models import World

Declared = dict[str, dict[str, str]]


def manifest(world: World) -> ReleaseManifest:
    towers = world.retrieval
    return ReleaseManifest(
        dataset="tiny",
        feast_project="tiny",
        feature_services={"retrieval": "retrieval_v1", "ranking": "ranking_v1", "user": "serving_user_v1"},
        snapshot=world.training_set.features.snapshot,
        as_of=world.training_set.features.snapshot.as_of,
        history_length=5,
        num_candidates=10,
        retrieval=towers,
        ranking=world.ranking,
        index=IndexPart(
            retrieval_version=towers.version,
            retrieval_digest=towers.digest,
            kind="brute_force",
            num_items=40,
            embedding_dim=8,
            recall={},
        ),
        metrics={},
        sample_users=(),
        files={},
    )


@pytest.fixture
def world_with_champion(world: World, tmp_path: Path) -> Any:
    """The trained pair as champion, its release reduced to the manifest that is asked for."""
    folder = tmp_path / "release"
    folder.mkdir()
    write_manifest(folder, manifest(world))
    registry = world.registry
    champion = registry.register(RECOMMENDER, folder, key=str(tmp_path), dataset="tiny", record=RunRecord(name="r"))
    registry.set_alias(RECOMMENDER, CHAMPION, champion.version)
    yield registry
    registry.clear_alias(RECOMMENDER, CHAMPION)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Declared:
    services: Declared = {name: dict(features) for name, features in step.declared_services().items()}
    services["ranking_v1"]["taste_match"] = "double"  # as in the tiny rows that the pair was trained on
    monkeypatch.setattr(step, "declared_services", lambda: services)
    return services


def test_the_declared_features_serve_a_champion_made_with_them(world_with_champion: Any, declared: Declared) -> None:
    check = step.check_features(registry=world_with_champion)
    assert check.champion_version is not None
    assert check.problems == ()


def test_an_added_feature_and_a_new_version_break_nothing(world_with_champion: Any, declared: Declared) -> None:
    declared["ranking_v2"] = declared["ranking_v1"] | {"mood": "float"}
    declared["serving_user_v9"] = {"mood": "float"}
    assert step.check_features(registry=world_with_champion).problems == ()


def test_a_removed_or_renamed_feature_is_refused(world_with_champion: Any, declared: Declared) -> None:
    for service in declared.values():
        if "recent_items" in service:
            service["last_items"] = service.pop("recent_items")
    problems = step.check_features(registry=world_with_champion).problems
    assert any(
        "recent_items is not in service retrieval_v1; the retrieval model of the champion" in p for p in problems
    )
    assert any("recent_items is not in service ranking_v1" in p for p in problems)


def test_a_feature_that_serving_no_longer_reads_is_refused(world_with_champion: Any, declared: Declared) -> None:
    del declared["serving_user_v1"]["taste_weights"]
    (problem,) = step.check_features(registry=world_with_champion).problems
    assert problem.startswith(
        "feature taste_weights is not in service serving_user_v1; serving of the champion reads it"
    )


def test_a_retyped_feature_is_refused(world_with_champion: Any, declared: Declared) -> None:
    declared["ranking_v1"]["title"] = "int64"
    (problem,) = step.check_features(registry=world_with_champion).problems
    assert "feature title of service ranking_v1 is int64; the ranking model of the champion expects string" in problem


def test_a_removed_service_is_refused(world_with_champion: Any, declared: Declared) -> None:
    del declared["retrieval_v1"]
    (problem,) = step.check_features(registry=world_with_champion).problems
    assert problem.startswith("service retrieval_v1 is not declared")


def test_without_a_champion_everything_goes(world: World) -> None:
    assert step.check_features(registry=world.registry).champion_version is None
