"""Freshness where serving reads features: expired rows are not used, ages and up-to-dateness are metrics."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipelines.errors import FeatureStoreError
from pipelines.stores.freshness import ViewFreshness, enforced, expired, readable, stale
from serving.metrics import Metrics
from serving.users import Features

AGE_BUCKETS = (60, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)
_logger = logging.getLogger(__name__)
_ANY_AGE = ViewFreshness()


@runtime_checkable
class ViewStore(Protocol):
    """An online store that says how old its rows are."""

    def online_user_views(self, user_id: str) -> Mapping[str, tuple[datetime | None, Mapping[str, Any]]]:
        """Return view -> event time, and feature -> value."""

    def audited_at(self) -> Mapping[str, datetime | None]:
        """Return view -> when all of it was online and up to date."""

    def ttls(self) -> Mapping[str, timedelta]:
        """Return view -> how long a row is valid, of the views that declare it."""


class Freshness:
    """The policies of the views, and their metrics."""

    def __init__(self, policies: Mapping[str, ViewFreshness], metrics: Metrics) -> None:
        """Register the metrics."""
        self.policies = policies
        registry = metrics.registry
        self.ages = Histogram(
            "tandem_feature_age_seconds", "Age of feature rows read", ["view"], buckets=AGE_BUCKETS, registry=registry
        )
        self.expired = Counter(
            "tandem_features_expired", "Rows read that were too old", ["view", "policy"], registry=registry
        )
        self._views = _UpToDate(policies)
        registry.register(self._views)

    def report(self, now: datetime | None = None) -> dict[str, dict[str, Any]]:
        """Return view -> when it was up to date, its objective in seconds, and whether it is stale.

        Raises:
            FeatureStoreError: the online store cannot be read.
        """
        try:
            audited = self._views.audited()
        except Exception as error:  # whatever a store's driver raises
            raise FeatureStoreError(
                f"when features were brought online cannot be read: {type(error).__name__}: {error}. "
                "Bring the online store back"
            ) from error
        late = stale(audited, self.policies, now or datetime.now(UTC))
        return {
            view: {
                "audited_at": None if at is None else at.isoformat(),
                "objective_seconds": self.policies.get(view, _ANY_AGE).objective_seconds,
                "stale": view in late,
            }
            for view, at in audited.items()
        }

    def over(self, store: ViewStore, now: Callable[[], float] = time.time) -> "FreshStore":
        """Return the store with the policies enforced; its views' states are the metrics from now on."""
        self._views.over(store)
        return FreshStore(store, self, now)


class FreshStore:
    """Reads users, without what has expired."""

    def __init__(self, store: ViewStore, freshness: Freshness, now: Callable[[], float]) -> None:
        """Enforce policies over `store`; `now` is the clock, in seconds since 1970."""
        self._store, self._freshness, self._now = store, freshness, now

    @cached_property
    def _policies(self) -> Mapping[str, ViewFreshness]:
        """The policies, and what the views declare: known when the store can be asked."""
        return enforced(self._freshness.policies, self._store.ttls())

    def online_user(self, user_id: str) -> Features:
        """Return feature -> value of a user, and which views had expired.

        Raises:
            ExpiredFeaturesError: a view has expired whose policy is `fail`.
        """
        features, too_old = Features(), []
        for view, (at, values) in self._store.online_user_views(user_id).items():
            policy = self._policies.get(view, _ANY_AGE)
            age = None if at is None else max(0.0, self._now() - at.timestamp())
            if age is not None:
                self._freshness.ages.labels(view).observe(age)
            if expired(age, policy):
                self._freshness.expired.labels(view, policy.when_expired).inc()
                too_old.append(view)
            features.update(readable(view, values, age, policy))
        features.expired = tuple(too_old)
        return features


class _UpToDate(Collector):
    """When each view was last brought up to date, and its objective; read from the store when metrics are.

    While the store cannot be read a view has an objective and no such time, which is an alert.
    """

    store: ViewStore | None = None

    def __init__(self, policies: Mapping[str, ViewFreshness]) -> None:
        self._policies = policies
        self._read: set[str] | None = None

    def over(self, store: ViewStore) -> None:
        """Read a store from now on; which views it has is not known yet."""
        self.store, self._read = store, None

    def collect(self) -> Iterator[Metric]:
        audited = GaugeMetricFamily(
            "tandem_view_audited_timestamp_seconds", "When all of a view was online and up to date", labels=["view"]
        )
        for view, at in self._known().items():
            audited.add_metric([view], 0.0 if at is None else at.timestamp())
        objective = GaugeMetricFamily("tandem_view_objective_seconds", "How long ago that may be", labels=["view"])
        for view, policy in self._policies.items():
            # A view that the release does not read is never up to date, and nobody waits for it.
            if policy.objective_seconds is not None and (self._read is None or view in self._read):
                objective.add_metric([view], policy.objective_seconds)
        yield from (audited, objective)

    def audited(self) -> Mapping[str, datetime | None]:
        """Return view -> when it was up to date; nothing before a store is opened."""
        return {} if self.store is None else self.store.audited_at()

    def _known(self) -> Mapping[str, datetime | None]:
        try:
            audited = self.audited()
        except Exception as error:  # whatever a store's driver raises, the other metrics are answered
            _logger.warning("when views were brought up to date cannot be read: %s", error)
            return {}
        if self.store is not None:
            self._read = set(audited)
        return audited
