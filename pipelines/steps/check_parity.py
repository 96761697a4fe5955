"""Step: compute the features that serving used again, offline, as of each request, and compare."""

import json
from datetime import datetime
from pathlib import Path

from pipelines.config import FeatureConfig, ParityConfig
from pipelines.contracts import CHAMPION, EVENTS, ITEMS, RECOMMENDER, USERS, ParityReport
from pipelines.data.lake import Lake
from pipelines.errors import ParityError
from pipelines.parity.compare import compare
from pipelines.parity.items import compare_items
from pipelines.parity.report import write_page
from pipelines.parity.requests import choose_requests
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore, ModelRegistry
from pipelines.stores.served import ServedLog

RESULT, PAGE = "report.json", "report.html"
MLFLOW_FOLDER = "parity"


def check_parity(
    dataset: str,
    *,
    config: ParityConfig,
    features: FeatureConfig,
    delay_seconds: float,
    requests: ServedLog,
    events: ServedLog,
    lake: Lake,
    registry: ModelRegistry | None,
    artifacts: ArtifactStore,
    scratch: Path,
    seed: int,
    as_of: datetime,
) -> ParityReport:
    """Compare logged features with those the transformations give for the same moment, and publish a report.

    Only requests are compared up to whose moment every event is in the lake: later ones wait for the next drain. A
    mismatch is an outcome, not an error, so that the report is kept: `require_parity` raises.

    Args:
        dataset: whose requests.
        config: how many, how far back, and what counts as equal.
        features: lengths of list features, DuckDB's memory and threads.
        delay_seconds: the raw source's delay.
        requests: features that serving logged.
        events: says until when all events are drained.
        lake: has the raw rows.
        registry: gets the report on the champion's run; None keeps it here alone.
        artifacts: where the report is published.
        scratch: folder to which DuckDB spills.
        seed: decides the sample.
        as_of: requests after it do not exist for this check, UTC.
    """
    chosen = choose_requests(dataset, requests=requests, events=events, config=config, seed=seed, as_of=as_of)
    versions = {table: lake.version(table) for table in (EVENTS, ITEMS, USERS)}
    found, num_ambiguous = compare(
        chosen.records, lake=lake, versions=versions, config=config, features=features, delay_seconds=delay_seconds,
        scratch=scratch,
    )  # fmt: skip
    of_items = compare_items(chosen.records, lake=lake, features=features, delay_seconds=delay_seconds, scratch=scratch)
    report = ParityReport(
        dataset=dataset,
        as_of=as_of,
        num_compared=len(chosen.records),
        num_waiting=chosen.num_waiting,
        num_ambiguous=num_ambiguous,
        features=(*found, *of_items),
        uri="",
    )

    def write(folder: Path) -> None:
        (folder / RESULT).write_text(report.model_dump_json(indent=2))
        write_page(folder / PAGE, report)

    key = content_key(ids=[record["request_id"] for record in chosen.records], report=report.model_dump(mode="json"))
    uri = artifacts.publish(f"{dataset}/check_parity/{key}", write)
    saved = json.loads((artifacts.local(uri) / RESULT).read_text())
    champion = registry.by_alias(RECOMMENDER, CHAMPION) if registry else None
    if registry and champion and champion.dataset == dataset:
        registry.log_artifacts(champion, {artifacts.local(uri): f"{MLFLOW_FOLDER}/{as_of:%Y-%m-%dT%H%M%S}"})
        registry.log_metrics(champion, {"parity_worst_mismatch_share": report.worst_share})
    return ParityReport.model_validate(saved | {"uri": uri})


def require_parity(report: ParityReport, config: ParityConfig) -> ParityReport:
    """Return the report if what serving used is what training would have seen.

    Raises:
        ParityError: a feature differs for too large a share of requests; the message names it with an example.
    """
    wrong = [
        feature
        for feature in report.features
        if report.num_told(feature) >= config.min_requests and report.share(feature) > config.max_mismatch_share
    ]
    if not wrong:
        return report
    worst = max(wrong, key=report.share)
    others = sum(feature.num_different > 0 for feature in report.features) - 1
    more = f", and {others} more features differ" if others else ""
    raise ParityError(
        f"{worst.name} of serving differs from offline for {worst.num_different} of {report.num_told(worst)} requests "
        f"({report.share(worst):.1%}; expected at most {config.max_mismatch_share:.1%}){more}; for example "
        f"{worst.example}. Open {report.uri}/{PAGE} and see docs/operations.md, Features served differ"
    )
