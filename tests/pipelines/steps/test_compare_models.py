"""On evaluations made by hand: 200 users, a few systems, one holdout or two."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipelines.contracts import RANKING_MODEL, RECOMMENDER, RETRIEVAL_MODEL, ModelComparison, ModelVersion
from pipelines.errors import ConfigError
from pipelines.models.holdout import Measured
from pipelines.models.per_user import write_per_user
from pipelines.steps.compare_models import compare_models
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.runs import RunMetrics
from tests.support.memory_registry import MemoryRegistry
from tests.support.memory_runs import MemoryRuns

METRIC = "ndcg_at_10"
BASE = np.random.default_rng(0).random(200)


@dataclass
class Platform:
    """Stores, and evaluations put into them."""

    root: Path
    registry: MemoryRegistry
    runs: MemoryRuns
    artifacts: LocalArtifacts

    def version(self, name: str, number: str, **told) -> ModelVersion:
        run_id = f"{name}{number}".encode().hex().ljust(32, "0")[:32]
        model = ModelVersion(name=name, version=number, run_id=run_id, dataset="tiny", digest=f"{name}{number}")
        self.registry.versions[name, number] = model
        self.runs.told[run_id] = RunMetrics(told.get("metrics", {}), told.get("curves", {}))
        return model

    def evaluated(
        self, name: str, number: str, gain: float, *, model: str = "ease", holdout: str = "h1", **told
    ) -> ModelVersion:
        """Register a version whose users are each better by `gain`, give or take."""
        version = self.version(name, number, **told)
        noise = np.random.default_rng(int(number)).normal(0, 0.05, 200)
        own = BASE + gain + noise - noise.mean()
        systems = {"popularity": BASE - 0.2, "retrieval": own, "recommender": own + 0.01}
        folder = self.root / version.run_id / "evaluation"
        folder.mkdir(parents=True)
        overall = {
            system: {METRIC: float(values.mean()), "coverage_at_10": 0.5, "popularity_share_at_10": 0.4}
            for system, values in systems.items()
        }
        measured = {name: Measured(overall[name], {}, {METRIC: systems[name]}, []) for name in systems}
        write_per_user(folder / "per_user.parquet", measured)
        slices = {"new users": {system: {**overall[system], "num_users": 20.0} for system in systems}}
        report = {
            "dataset": "tiny", "snapshot": f"s-{holdout}", "cut": "2026-01-01", "num_users": 200, "num_items": 50,
            "holdout": holdout, "retrieval_model": model, "baselines": ["popularity"], "metrics": overall,
            "slices": slices,
        }  # fmt: skip
        (folder / "report.json").write_text(json.dumps(report))
        self.runs.artifacts[version.run_id] = folder.parent
        return version

    def compare(self, *names: str, metric: str = METRIC, reference: str | None = None) -> ModelComparison:
        stores = {"registry": self.registry, "runs": self.runs, "artifacts": self.artifacts}
        return compare_models(names, dataset="tiny", metric=metric, reference=reference, seed=1, **stores)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    root = tmp_path / "kept"
    return Platform(root, MemoryRegistry(tmp_path / "registry"), MemoryRuns(), LocalArtifacts(tmp_path / "runs"))


def report_of(comparison: ModelComparison) -> dict:
    return json.loads((Path(comparison.uri) / "report.json").read_text())


def page_of(comparison: ModelComparison) -> str:
    return (Path(comparison.uri) / "report.html").read_text()


def test_by_default_the_newest_holdouts_versions_stand_beside_their_baselines(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.0, holdout="older")
    platform.evaluated(RETRIEVAL_MODEL, "2", 0.1, model="sasrec")
    platform.evaluated(RETRIEVAL_MODEL, "3", 0.0)
    platform.evaluated(RANKING_MODEL, "1", 0.1, model="sasrec")
    platform.version(RETRIEVAL_MODEL, "4")  # never evaluated
    found = platform.compare()
    assert list(found.values) == ["ranking/1 on sasrec", "retrieval/2 sasrec", "retrieval/3 ease", "popularity"]
    assert found.reference == "ranking/1 on sasrec"  # the best
    assert found.holdout == "h1"


def test_what_differs_is_told_from_what_does_not(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    platform.evaluated(RETRIEVAL_MODEL, "2", 0.1)
    platform.evaluated(RETRIEVAL_MODEL, "3", 0.0)
    found = platform.compare("1", "2", "3", reference="2")
    report = report_of(found)
    assert found.reference == report["reference"] == "retrieval/2 ease"
    differences = report["differences"]
    assert differences["retrieval/3 ease"]["difference"] == pytest.approx(0.1)
    assert differences["retrieval/3 ease"]["p_holm"] < 0.01
    assert differences["retrieval/1 ease"]["p_holm"] > 0.5
    low, high = report["intervals"]["retrieval/2 ease"][METRIC]
    assert low < found.values["retrieval/2 ease"] < high
    page = page_of(found)
    assert "<td>better</td>" in page
    assert "<td>not told apart</td>" in page
    assert "Slice: new users" in page


def test_a_deep_model_that_loses_to_a_simple_one_is_told_so(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.2)  # ease
    platform.evaluated(RETRIEVAL_MODEL, "2", 0.1, model="sasrec")
    platform.evaluated(RETRIEVAL_MODEL, "3", 0.3, model="hstu")
    platform.evaluated(RETRIEVAL_MODEL, "4", 0.1, model="als")  # neither deep nor simple
    platform.evaluated(RETRIEVAL_MODEL, "5", 0.2, model="two_tower")
    platform.evaluated(RANKING_MODEL, "1", 0.1)
    page = page_of(platform.compare(reference="4"))
    best = r"retrieval/1 ease \(0\.\d{4}\), the best of the simpler models here"
    assert re.search(rf"retrieval/2 sasrec \(0\.\d{{4}}\) loses to {best}: tune it, or train the simpler model", page)
    assert re.search(rf"ranking/1 on ease \(0\.\d{{4}}\) loses to {best}", page)
    assert re.search(rf"retrieval/3 hstu \(0\.\d{{4}}\) beats {best}\.", page)
    assert re.search(rf"two_tower \(0\.\d{{4}}\) and {best}: no difference that 200 users can show", page)
    assert "als (0" not in " ".join(page.split("simpler models here")[:-1]).split("Losses of different")[-1]


def test_a_model_the_catalogue_does_not_know_is_neither_deep_nor_simple(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", -0.3, model="some.module:Model")
    assert "simpler models here" not in page_of(platform.compare("1"))


def test_curves_costs_and_the_trade_off_are_shown_where_there_are_any(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    plain = page_of(platform.compare("1"))
    assert "What training cost" not in plain
    assert plain.count("data:image/png;base64,") == 2  # differences and the trade-off
    told = {
        "metrics": {"cost_cpu_seconds": 12.34, "test_ndcg_at_10": 0.1},
        "curves": {"loss": [2.0, 1.0], "validation_recall_at_50": [0.1, 0.2]},
    }
    platform.evaluated(RETRIEVAL_MODEL, "2", 0.1, model="gru", **told)
    found = platform.compare("1", "2")
    page = page_of(found)
    assert "<td>retrieval/2 gru</td><td>12.3</td>" in page
    assert report_of(found)["curves"] == {"retrieval/2 gru": told["curves"]}
    assert page.count("data:image/png;base64,") == 3


def test_the_page_is_a_run_of_its_own_and_written_once(platform, monkeypatch):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    found = platform.compare("retrieval/1")
    record = platform.runs.records[found.run_id.removeprefix("run-")]
    assert record.artifacts == {Path(found.uri): "comparison"}
    assert record.params["models"] == "retrieval/1 ease"
    monkeypatch.setattr("pipelines.steps.compare_models.write_comparison", None)
    assert platform.compare("retrieval/1") == found
    assert len(platform.runs.records) == 1


def test_versions_are_named_by_number_run_or_release(platform, monkeypatch):
    one = platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    pair = platform.evaluated(RANKING_MODEL, "2", 0.2)
    release = platform.version(RECOMMENDER, "1")
    monkeypatch.setattr(platform.registry, "read_file", lambda model, file: {"model": model, "file": file})
    monkeypatch.setattr(
        "pipelines.steps.compare_models.ReleaseManifest.model_validate_json",
        lambda told: type("Manifest", (), {"ranking": pair}) if told["model"] == release else None,
    )
    expected = {"retrieval/1 ease", "recommender/1 on ease", "popularity"}
    assert set(platform.compare("1", "recommender/1").values) == expected
    assert set(platform.compare(one.run_id, "recommender/1", one.run_id).values) == expected


def test_different_holdouts_are_refused(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1, holdout="h1")
    platform.evaluated(RETRIEVAL_MODEL, "2", 0.1, holdout="h2")
    with pytest.raises(ConfigError, match=r"retrieval/1 and retrieval/2 were evaluated on different holdouts .*s-h1.*"):
        platform.compare("1", "2")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["retrieval/9"], r"'retrieval/9' is no model of this data set; .* Registered are: retrieval/1, retrieval/2"),
        (["2"], "retrieval/2 has no evaluation with the values of each user"),
        (["1"], "reference 'ease' is none of the models compared: retrieval/1 ease, popularity"),
    ],
)
def test_what_cannot_be_compared_is_said(platform, names, told):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    platform.version(RETRIEVAL_MODEL, "2")
    with pytest.raises(ConfigError, match=told):
        platform.compare(*names, reference="ease")


def test_without_any_evaluation_the_command_that_makes_one_is_named(platform):
    platform.version(RETRIEVAL_MODEL, "1")
    with pytest.raises(ConfigError, match="tandem train-models"):
        platform.compare()


def test_a_metric_that_was_not_measured_names_those_that_were(platform):
    platform.evaluated(RETRIEVAL_MODEL, "1", 0.1)
    with pytest.raises(ConfigError, match="was not measured by 'ndcg_at_7'; measured are ndcg_at_10"):
        platform.compare("1", metric="ndcg_at_7")
