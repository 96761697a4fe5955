"""The report of all checks: kept whatever was found, logged on the model's run, and a gate."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import RetrievalConfig
from pipelines.contracts import LeakageReport, ModelVersion
from pipelines.errors import LeakageError
from pipelines.leakage.checks import CHECKS
from pipelines.steps.check_leakage import check_leakage, require_clean
from pipelines.steps.retrieval_labels import fit_encoders
from pipelines.stores.base import RunRecord
from tests.support.leakage import CONFIG, Built
from tests.support.memory_registry import MemoryRegistry


def model(clean: Built, registry: MemoryRegistry, folder: Path) -> ModelVersion:
    items, queries = fit_encoders(clean.rows("train"), RetrievalConfig(max_text_tokens=4))
    items.save(folder / "item_inputs")
    queries.save(folder / "query_inputs")
    manifest = {"fitted_until": clean.training_set.validation_start.isoformat()}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return registry.register("retrieval", folder, key="k", dataset="tiny", record=RunRecord(name="r"))


def checked(built: Built, retrieval: ModelVersion | None, registry: Any) -> LeakageReport:
    return check_leakage(
        built.training_set,
        retrieval,
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


def test_a_clean_set_and_model_pass_every_check(clean: Built, tmp_path: Path) -> None:
    registry = MemoryRegistry(tmp_path / "registry")
    retrieval = model(clean, registry, tmp_path / "bundle")
    report = checked(clean, retrieval, registry)
    names = [check.name for check in report.checks]
    assert names == [*(check.__name__ for check in CHECKS), "fitted_on_the_training_window"]
    assert all(check.num_checked for check in report.checks)
    assert require_clean(report) is report
    assert registry.logged["retrieval", "1"] == {"leakage_findings": 0}
    folder = registry.files["retrieval", "1"]["leakage"]
    assert '<b class="clean">Clean</b>' in (folder / "report.html").read_text()
    assert all(name.replace("_", " ") in (folder / "report.html").read_text() for name in names)
    assert checked(clean, retrieval, registry) == report


def test_a_leak_is_reported_logged_and_stops_the_run(clean: Built, tmp_path: Path) -> None:
    registry = MemoryRegistry(tmp_path / "registry")
    retrieval = model(clean, registry, tmp_path / "bundle")
    leaking = clean.with_column(tmp_path / "set", "user_num_events", lambda rows: pa.array(range(rows.num_rows)))
    report = checked(leaking, retrieval, registry)
    assert report.num_findings >= 1
    assert registry.logged["retrieval", "1"]["leakage_findings"] == report.num_findings
    assert "user_num_events" in (registry.files["retrieval", "1"]["leakage"] / "report.html").read_text()
    with pytest.raises(LeakageError) as caught:
        require_clean(report)
    message = str(caught.value)
    assert message.startswith("recomputed_from_raw_events: user_num_events: ")
    assert "for example event e" in message
    assert f"Open {report.uri}/report.html" in message
    assert "\n" not in message


def test_without_a_model_the_rows_alone_are_checked(clean: Built) -> None:
    report = checked(clean, None, None)
    assert report.retrieval_version is None
    assert len(report.checks) == len(CHECKS)
