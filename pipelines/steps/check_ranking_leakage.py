"""Prove that the ranking model's pairs, vocabularies and normalizers knew only the training window."""

from pathlib import Path

from pipelines.config import FeatureConfig, LeakageConfig
from pipelines.contracts import LeakageReport, ModelVersion, RankingSet
from pipelines.data.lake import Lake
from pipelines.leakage.evidence import Evidence
from pipelines.leakage.fitted_ranker import ranker_fitted_on_the_training_window
from pipelines.steps.check_leakage import log_report, read_report, write_report
from pipelines.stores.artifacts import content_key, folder_digest
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.revision import code_digest


def check_ranking_leakage(
    ranking_set: RankingSet,
    ranking: ModelVersion,
    *,
    config: LeakageConfig,
    features: FeatureConfig,
    min_positive_value: float | None,
    delay_seconds: float,
    lake: Lake,
    registry: ModelRegistry,
    artifacts: ArtifactStore,
    scratch: Path,
    seed: int,
) -> LeakageReport:
    """Check the ranking model, publish the report and log it on the model's run.

    `check_leakage` proves the rows that the pairs were made from. A leak is an outcome, as there: `require_clean`
    raises. Equal arguments give the report that is there already.

    Args:
        ranking_set: what the model was trained on.
        ranking: the model.
        config: sizes of samples, and limits.
        features: DuckDB's memory and threads.
        min_positive_value: labels below it are no positives, as in the retrieval model's configuration.
        delay_seconds: the source's delay.
        lake: has the raw rows.
        registry: has the model, and gets the report.
        artifacts: where the report is published.
        scratch: folder to which DuckDB spills.
        seed: decides the samples.

    Raises:
        LakeError: a version that the snapshot names is gone.
    """
    training_set = ranking_set.training_set
    snapshot = training_set.features.snapshot
    key = content_key(
        pairs=[ranking_set.fingerprint, folder_digest(artifacts.local(ranking_set.uri))],
        rows=[training_set.fingerprint, folder_digest(artifacts.local(training_set.uri))],
        ranking=ranking.digest,
        min_positive_value=min_positive_value,
        code=code_digest("leakage", "steps/check_ranking_leakage.py"),
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
        check = ranker_fitted_on_the_training_window(
            evidence,
            registry.download(ranking),
            artifacts.local(ranking_set.uri),
            min_positive_value=min_positive_value,
        )
        report = LeakageReport(
            dataset=snapshot.dataset,
            snapshot_id=snapshot.snapshot_id,
            training_set=training_set.fingerprint,
            retrieval_version=None,
            ranking_version=ranking.version,
            uri="",
            checks=(check,),
        )
        write_report(folder, report)

    report = read_report(artifacts.publish(f"{snapshot.dataset}/check_ranking_leakage/{key}", write), artifacts)
    log_report(report, ranking, registry=registry, artifacts=artifacts)
    return report
