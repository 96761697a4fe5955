"""From raw rows to a snapshot of the lake."""

from datetime import UTC, datetime, timedelta

from pipelines.contracts import Drain, FeatureSet, IngestedPartition, RawPartition, ValidatedPartition
from pipelines.entrypoints.adapters import Json, as_json, open_artifacts, open_forgotten, open_lake, open_served_log
from pipelines.entrypoints.configuring import parse_as_of, read_config


def read_partition(config: str, partition: str = "all") -> Json:
    """Read one raw partition from the source and stage it unchanged; returns a RawPartition."""
    from pipelines.steps.read_partition import read_partition as step

    c = read_config(config)
    where: Json = {"artifacts": open_artifacts(c), "home": c.home, "forgotten": open_forgotten(c)}
    return as_json(step(partition, dataset=c.dataset, source=c.source, seed=c.seed, **where))


def validate_partition(config: str, raw: Json, as_of: str = "") -> Json:
    """Check a raw partition against its contract; returns a ValidatedPartition.

    `as_of` is the ingestion's clock: rows after it are from the future. Empty: now.
    """
    from pipelines.steps.validate_partition import validate_partition as step

    c = read_config(config)
    clock = parse_as_of(as_of) or datetime.now(UTC)
    return as_json(
        step(RawPartition(**raw), config=c.validation, lake=open_lake(c), artifacts=open_artifacts(c), as_of=clock)
    )


def append_partition(config: str, validated: Json) -> Json:
    """Append accepted and quarantined rows to the lake exactly once; returns an IngestedPartition."""
    from pipelines.steps.append_partition import append_partition as step

    c = read_config(config)
    return as_json(step(ValidatedPartition(**validated), lake=open_lake(c), artifacts=open_artifacts(c)))


def seal_events(config: str) -> Json:
    """Claim the served events that wait and stage them as a raw partition; returns a Drain."""
    from pipelines.steps.seal_events import seal_events as step

    c = read_config(config)
    where: Json = {"log": open_served_log(c, "events"), "lake": open_lake(c), "artifacts": open_artifacts(c)}
    return as_json(step(c.dataset, forgotten=open_forgotten(c), **where))


def finish_drain(config: str, drain: Json, ingested: Json) -> Json:
    """Give up the served events that are in the lake now; returns the IngestedPartition."""
    from pipelines.steps.finish_drain import finish_drain as step

    c = read_config(config)
    where: Json = {"log": open_served_log(c, "events"), "lake": open_lake(c), "artifacts": open_artifacts(c)}
    keep, keep_runs = timedelta(hours=c.drain.keep_hours), timedelta(hours=c.drain.keep_runs_hours)
    return as_json(step(Drain(**drain), IngestedPartition(**ingested), keep=keep, keep_runs=keep_runs, **where))


def take_snapshot(config: str, as_of: str = "") -> Json:
    """Fix a moment and the lake versions that hold what was known then; returns a Snapshot.

    `as_of` empty: the moment after the newest row known.
    """
    from pipelines.steps.take_snapshot import take_snapshot as step

    c = read_config(config)
    return as_json(step(c.dataset, lake=open_lake(c), as_of=parse_as_of(as_of), delay_seconds=c.source.delay_seconds))


def compact_lake(config: str, keep_hours: int) -> Json:
    """Write small files of the lake together, remove what nothing names; returns table -> files removed."""
    from pipelines.steps.compact_lake import compact_lake as step
    from pipelines.stores.published import Published

    c = read_config(config)
    found = Published(c.home).find("features", c.dataset)
    published = FeatureSet(**found["features"]) if found else None
    return dict(step(lake=open_lake(c), published=published, keep_hours=keep_hours))
