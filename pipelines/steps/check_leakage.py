"""Prove that a training set, and the model made from it, knew only the past."""

import json
from pathlib import Path

from pipelines.config import FeatureConfig, LeakageConfig
from pipelines.contracts import LeakageReport, ModelVersion, TrainingSet
from pipelines.data.lake import Lake
from pipelines.errors import LeakageError
from pipelines.leakage.checks import run_checks
from pipelines.leakage.evidence import Evidence
from pipelines.leakage.report import write_page
from pipelines.stores.artifacts import content_key, folder_digest
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.revision import code_digest

RESULT, PAGE = "report.json", "report.html"
MLFLOW_FOLDER = "leakage"


def check_leakage(
    training_set: TrainingSet,
    retrieval: ModelVersion | None,
    *,
    config: LeakageConfig,
    features: FeatureConfig,
    min_positive_value: float | None,
    delay_seconds: float,
    lake: Lake,
    registry: ModelRegistry | None,
    artifacts: ArtifactStore,
    scratch: Path,
    seed: int,
) -> LeakageReport:
    """Run every check of `pipelines/leakage`, publish the report and log it on the model's run.

    A leak is an outcome, not an error, so that the report is kept: `require_clean` raises. Equal arguments give the
    report that is there already; a training set whose files changed since is checked anew.

    Args:
        training_set: what is checked.
        retrieval: model made from it, whose vocabularies and normalizers are checked too; None checks the rows alone.
        config: sizes of samples, and limits.
        features: lengths of list features, DuckDB's memory and threads.
        min_positive_value: labels below it are no positives, as in the model's configuration.
        delay_seconds: the source's delay.
        lake: has the raw rows and the feature tables.
        registry: has the model, and gets the report; needed with `retrieval` only.
        artifacts: where the report is published.
        scratch: folder to which DuckDB spills.
        seed: decides the samples.

    Raises:
        LakeError: a version that the snapshot names is gone.
    """
    snapshot = training_set.features.snapshot
    key = content_key(
        rows=[training_set.fingerprint, folder_digest(artifacts.local(training_set.uri))],
        features=training_set.features.versions,
        retrieval=retrieval.digest if retrieval else None,
        config=config.model_dump(),
        delay=delay_seconds,
        seed=seed,
        code=code_digest("leakage", "features", "steps/check_leakage.py"),
    )

    def write(folder: Path) -> None:
        evidence = Evidence.open(
            training_set,
            lake=lake,
            features=features,
            config=config,
            delay_seconds=delay_seconds,
            seed=seed,
            scratch=scratch,
        )
        bundle = registry.download(retrieval) if registry and retrieval else None
        report = LeakageReport(
            dataset=snapshot.dataset,
            snapshot_id=snapshot.snapshot_id,
            training_set=training_set.fingerprint,
            retrieval_version=retrieval.version if retrieval else None,
            uri="",
            checks=run_checks(evidence, bundle, min_positive_value=min_positive_value),
        )
        write_report(folder, report)

    uri = artifacts.publish(f"{snapshot.dataset}/check_leakage/{key}", write)
    report = read_report(uri, artifacts)
    if registry and retrieval:
        log_report(report, retrieval, registry=registry, artifacts=artifacts)
    return report


def write_report(folder: Path, report: LeakageReport) -> None:
    """Write a report into a folder that is being published, for programs and for people."""
    (folder / RESULT).write_text(report.model_dump_json(indent=2))
    write_page(folder / PAGE, report)


def read_report(uri: str, artifacts: ArtifactStore) -> LeakageReport:
    """Read a published report."""
    saved = json.loads((artifacts.local(uri) / RESULT).read_text())
    return LeakageReport.model_validate(saved | {"uri": uri})


def log_report(
    report: LeakageReport, model: ModelVersion, *, registry: ModelRegistry, artifacts: ArtifactStore
) -> None:
    """Put a published report on the run of the model that it is about."""
    registry.log_artifacts(model, {artifacts.local(report.uri): MLFLOW_FOLDER})
    registry.log_metrics(model, {"leakage_findings": report.num_findings})


def require_clean(report: LeakageReport) -> LeakageReport:
    """Return the report if nothing was found.

    Raises:
        LeakageError: a check found something; the message names check, feature and an example row.
    """
    found = [(check, finding) for check in report.checks for finding in check.findings]
    if found:
        check, first = found[0]
        others = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise LeakageError(
            f"{check.name}: {first.feature}: {first.problem}; for example {first.example}{others}. "
            f"Open {report.uri}/{PAGE}, correct what it names and build the training set again"
        )
    return report
