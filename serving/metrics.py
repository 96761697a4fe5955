"""Prometheus metrics of the serving component."""

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """All metrics, in a registry of their own: two servers in one process do not collide."""

    def __init__(self, *, release_objective_seconds: float | None = None) -> None:
        """Create the metrics at zero; the objective is how old what the release knows of items may be."""
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "tandem_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "tandem_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=registry
        )
        self.stage_seconds = Histogram(
            "tandem_stage_seconds",
            "Time of one stage of a recommendation",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.degraded = Counter("tandem_degraded", "Answers made with a part down", ["part"], registry=registry)
        self.popular_items = Counter("tandem_popular_items", "Items filled up from the popular ones", registry=registry)
        self.unknown_users = Counter(
            "tandem_unknown_users", "Recommendations for users nobody knows", registry=registry
        )
        self.events = Counter("tandem_events", "Events written to the log", registry=registry)
        self.swaps = Counter("tandem_release_swaps", "Releases that went live", registry=registry)
        self.refused = Counter("tandem_releases_refused", "Releases that were not loaded", ["error"], registry=registry)
        self.registry_up = Gauge(
            "tandem_registry_up", "1 when the last look at the model registry worked", registry=registry
        )
        self.features_dropped = Counter(
            "tandem_feature_records_dropped", "Sampled requests whose features could not be kept", registry=registry
        )
        self.event_lag = Gauge(
            "tandem_event_lag_seconds", "Time since events of other processes were last read", registry=registry
        )
        self._release = _ReleaseInfo(release_objective_seconds)
        registry.register(self._release)

    def follow(self, lag_seconds: Callable[[], float]) -> None:
        """Ask `lag_seconds` how far behind the events of other processes are, whenever the metrics are read."""
        self.event_lag.set_function(lag_seconds)

    def went_live(self, version: str, dataset: str, digest: str, as_of: datetime) -> None:
        """Count a swap and name the release that answers from now on, and the moment whose knowledge it holds."""
        self.swaps.inc()
        self._release.live = ((version, dataset, digest[:12]), as_of)


class _ReleaseInfo(Collector):
    """Labels and moment of the one release that answers; the one before is gone with the swap, not left at 0."""

    live: tuple[tuple[str, ...], datetime] | None = None

    def __init__(self, objective_seconds: float | None) -> None:
        self._objective_seconds = objective_seconds

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "tandem_release_info", "1 for the release that answers", labels=["version", "dataset", "digest"]
        )
        as_of = GaugeMetricFamily(
            "tandem_release_as_of_timestamp_seconds", "The moment that the release's item features are as of", labels=[]
        )
        objective = GaugeMetricFamily("tandem_release_objective_seconds", "How long ago that may be", labels=[])
        if self.live is not None:
            labels, moment = self.live
            info.add_metric(labels, 1)
            as_of.add_metric([], moment.timestamp())
        if self._objective_seconds is not None:
            objective.add_metric([], self._objective_seconds)
        yield from (info, as_of, objective)
