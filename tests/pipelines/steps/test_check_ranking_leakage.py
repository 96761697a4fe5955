"""The ranking model's report: kept whatever was found, logged on its run, and a gate."""

from pathlib import Path

import pytest

from pipelines.config import FeatureConfig
from pipelines.contracts import LeakageReport, ModelVersion, RankingSet
from pipelines.data.lake import Lake
from pipelines.errors import LeakageError
from pipelines.leakage.evidence import Evidence
from pipelines.leakage.fitted_ranker import ranker_fitted_on_the_training_window
from pipelines.steps.check_leakage import require_clean
from pipelines.steps.check_ranking_leakage import check_ranking_leakage
from pipelines.stores.base import RunRecord
from tests.support.leakage import CONFIG, Built
from tests.support.memory_registry import MemoryRegistry
from tests.support.ranker import Ranker, pairs_of
from tests.support.trained_models import World


def checked(ranker: Ranker, registry: MemoryRegistry, key: str) -> LeakageReport:
    """Register the ranker's bundle and check it."""
    built, record = ranker.built, RunRecord(name="r")
    ranking = registry.register("ranking", ranker.bundle, key=key, dataset="tiny", record=record)
    return check_ranking_leakage(
        RankingSet(
            training_set=built.training_set,
            retrieval=ModelVersion(
                name="retrieval", version="1", run_id="r", dataset="tiny", digest="0" * 64, metrics={}
            ),
            uri=str(ranker.pairs),
            fingerprint=key,
            feature_service="ranking_v1",
            num_rows={},
        ),
        ranking,
        config=CONFIG,
        features=built.workspace.config,
        min_positive_value=None,
        delay_seconds=0.0,
        lake=built.workspace.lake,
        registry=registry,
        artifacts=built.workspace.artifacts,
        scratch=built.workspace.home / "scratch",
        seed=1,
    )


def test_a_report_is_logged_on_the_model_and_a_leak_stops_the_run(clean: Built, tmp_path: Path) -> None:
    registry, ranker = MemoryRegistry(tmp_path / "registry"), Ranker(clean, tmp_path)
    report = checked(ranker, registry, "clean")
    assert require_clean(report) is report
    assert report.ranking_version == "1"
    assert registry.logged["ranking", "1"] == {"leakage_findings": 0}
    page = (registry.files["ranking", "1"]["leakage"] / "report.html").read_text()
    assert "ranking version 1" in page
    assert checked(ranker, registry, "clean") == report

    ranker.fit(pairs_of(clean.rows("test")), ranker.encoder.query, clean.rows("train"))
    leaking = checked(ranker, registry, "leaking")
    assert registry.logged["ranking", "2"]["leakage_findings"] == leaking.num_findings > 0
    with pytest.raises(LeakageError, match="ranker_fitted_on_the_training_window: ranking_inputs/item/"):
        require_clean(leaking)


def test_a_ranker_that_was_really_trained_is_clean(world: World, tmp_path: Path) -> None:
    """On the files of the steps themselves; its raw rows are not looked at."""
    snapshot = world.training_set.features.snapshot.model_copy(update={"versions": {}})
    features = world.training_set.features.model_copy(update={"snapshot": snapshot})
    evidence = Evidence.open(
        world.training_set.model_copy(update={"features": features}),
        lake=Lake(tmp_path),
        features=FeatureConfig(),
        config=CONFIG,
        delay_seconds=0.0,
        seed=1,
        scratch=tmp_path,
    )
    check = ranker_fitted_on_the_training_window(
        evidence, world.registry.download(world.ranking), Path(world.ranking_set.uri), min_positive_value=None
    )
    assert check.findings == ()
    assert check.num_checked > world.ranking_set.num_rows["train"] > 100
