"""Step: validate a staged partition; quarantine rows, write the report, stop when a table-level rule is broken."""

from datetime import datetime
from pathlib import Path

from pipelines.config import ValidationConfig
from pipelines.contracts import RawPartition, ValidatedPartition, is_served
from pipelines.data.lake import Lake
from pipelines.data.validation import Verdict, validate
from pipelines.errors import DataContractError
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore

VALIDATED = "served/validated"
"""Where batches of served events are validated, apart: `finish_drain` deletes them when they are old."""
_OWN_COLUMNS = {"new_columns": "accept", "missing_columns": "accept", "retyped_columns": "coerce"}


def validate_partition(
    raw: RawPartition, *, config: ValidationConfig, lake: Lake, artifacts: ArtifactStore, as_of: datetime
) -> ValidatedPartition:
    """Split a partition into rows for the lake and rows for the quarantine.

    Accepted rows, quarantined rows and the Data Docs are published before anything is refused, so a refused
    partition can be looked into, and validating it again gives the same answer at once.

    Args:
        raw: the staged partition.
        config: bounds of the table-level rules.
        lake: what is known already; the partition's own rows in it do not count.
        artifacts: where the validated folder is published.
        as_of: the ingestion's clock, UTC: nothing may happen or arrive after it.

    Raises:
        DataContractError: a table-level rule is broken: a required column is missing or of a wrong type, there
            are too few events, too many quarantined rows, or volume or values unlike the lake's.
    """
    served = is_served(raw.partition)
    if served:
        # We staged it ourselves, times as text and one column more: no change of a source to decide about.
        config = config.model_copy(update=_OWN_COLUMNS)
    key = content_key(
        raw=raw.uri, config=config.model_dump(), lake=[lake.root, lake.versions()], as_of=as_of.isoformat()
    )

    def write(folder: Path) -> None:
        validate(artifacts.local(raw.uri), folder, partition=raw.partition, lake=lake, config=config, as_of=as_of)

    kind = VALIDATED if served else "validate_partition"
    uri = artifacts.publish(f"{raw.dataset}/{kind}/{key}", write)
    verdict = Verdict.load(artifacts.local(uri))
    if verdict.problems:
        raise DataContractError(_refusal(raw, uri, verdict))
    return ValidatedPartition(
        dataset=raw.dataset,
        partition=raw.partition,
        uri=uri,
        quarantine_uri=f"{uri}/quarantine.parquet",
        docs_uri=f"{uri}/docs/report.html",
        num_accepted=verdict.num_accepted,
        num_quarantined=verdict.num_quarantined,
        drift=() if served else tuple(verdict.drift),
    )


def _refusal(raw: RawPartition, uri: str, verdict: Verdict) -> str:
    quarantined = sum(verdict.num_quarantined.values())
    return (
        f"partition {raw.partition!r} of {raw.dataset} is refused. {'. '.join(verdict.problems)}. {verdict.advice}. "
        f"Nothing is lost: raw rows in {raw.uri}, {quarantined:,} quarantined rows in {uri}/quarantine.parquet, "
        f"report {uri}/docs/report.html"
    )
