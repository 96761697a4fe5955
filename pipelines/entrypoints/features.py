"""From a snapshot to features, offline and online, and the proofs about them."""

from datetime import UTC, datetime, timedelta

from pipelines.config import Config
from pipelines.contracts import FeatureSet, Snapshot
from pipelines.entrypoints.adapters import (
    Json,
    as_json,
    open_artifacts,
    open_feature_store,
    open_lake,
    open_registry,
    open_served_log,
)
from pipelines.entrypoints.configuring import parse_as_of, parse_moment, read_config


def compute_features(config: str, snapshot: Json) -> Json:
    """Compute the feature tables of a snapshot, write them to the lake and declare them; returns a FeatureSet."""
    from pipelines.steps.compute_features import compute_features as step

    c = read_config(config)
    _refuse_breaking_change(c)
    where: Json = {"lake": open_lake(c), "artifacts": open_artifacts(c), "scratch": c.home / "tmp"}
    features = step(Snapshot(**snapshot), config=c.features, delay_seconds=c.source.delay_seconds, **where)
    _refuse_breaking_change(c)  # once more: the champion may be another by now
    open_feature_store(c).apply()  # before two readers start at once: each would write the registry
    return as_json(features)


def bitemporal_report(config: str, snapshot: Json) -> Json:
    """Compare features joined by event time alone with what was known; returns a BitemporalReport."""
    from pipelines.features.bitemporal import bitemporal_report as report

    c = read_config(config)
    work: Json = {"config": c.features, "delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp"}
    return as_json(report(Snapshot(**snapshot), lake=open_lake(c), **work))


def materialize_online(config: str, features: Json, since: str = "") -> Json:
    """Bring a feature set into the online store and audit it there; returns the FeatureSet with counts.

    The window written is from `since`, less `features.lookback_days`, to the set's moment. `since` empty: where the
    features of this data set that were published last end; without any, everything.
    """
    from pipelines.steps.materialize_online import materialize_online as step

    c = read_config(config)
    _refuse_breaking_change(c)
    window: Json = {
        "since": parse_as_of(since, "since") or _last_window_end(c),
        "lookback": timedelta(days=c.features.lookback_days),
        "clock": datetime.now(UTC),
    }
    return as_json(step(FeatureSet(**features), store=open_feature_store(c), **window))


def export_features(config: str, features: Json, start: str, end: str) -> Json:
    """Write the feature rows of a window as files, one a view; returns a FeatureExport."""
    from pipelines.steps.export_features import export_features as step

    c = read_config(config)
    window = {"start": parse_moment(start, "start"), "end": parse_moment(end, "end")}
    return as_json(step(FeatureSet(**features), **window, lake=open_lake(c), artifacts=open_artifacts(c)))


def feature_catalogue(config: str, features: Json) -> Json:
    """Write the page of all features, with their values at a feature set's snapshot; returns a FeatureCatalogue."""
    from pipelines.steps.feature_catalogue import feature_catalogue as step

    c = read_config(config)
    stores: Json = {"lake": open_lake(c), "registry": open_registry(c), "artifacts": open_artifacts(c)}
    return as_json(step(FeatureSet(**features), config=c.features, scratch=c.home / "tmp", **stores))


def check_features(config: str) -> Json:
    """Compare the declared features with what the champion was trained with; returns a FeatureCheck."""
    from pipelines.steps.check_features import check_features as step

    return as_json(step(registry=open_registry(read_config(config))))


def check_parity(config: str, as_of: str = "") -> Json:
    """Compare the features serving used with those offline; returns a ParityReport, or fails naming the feature."""
    from pipelines.contracts import ParityReport
    from pipelines.steps.check_parity import require_parity

    report = ParityReport(**report_parity(config, as_of))
    return as_json(require_parity(report, read_config(config).parity))


def report_parity(config: str, as_of: str = "") -> Json:
    """Compare the features serving used with those offline; returns a ParityReport, whatever it found.

    `as_of` empty: now.
    """
    from pipelines.steps.check_parity import check_parity as step

    c = read_config(config)
    stores: Json = {"lake": open_lake(c), "registry": open_registry(c), "artifacts": open_artifacts(c)}
    logs: Json = {"requests": open_served_log(c, "requests"), "events": open_served_log(c, "events")}
    work: Json = {"delay_seconds": c.source.delay_seconds, "scratch": c.home / "tmp", "seed": c.seed}
    clock = parse_as_of(as_of) or datetime.now(UTC)
    return as_json(step(c.dataset, config=c.parity, features=c.features, as_of=clock, **stores, **logs, **work))


def _refuse_breaking_change(c: Config) -> None:
    from pipelines.steps.refuse_breaking_change import refuse_breaking_change as step
    from pipelines.stores.serving_client import ServingClient

    served: Json = {"open_registry": lambda: open_registry(c), "serving": ServingClient(c.serving_url)}
    step(dataset=c.dataset, store=open_feature_store(c), **served)


def _last_window_end(config: Config) -> datetime | None:
    from pipelines.stores.published import Published

    last = Published(config.home).find("features", config.dataset)
    return None if last is None else FeatureSet(**last["features"]).snapshot.as_of
