"""What requests share: settings, metrics, the event log, and the live release."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from pipelines.contracts import RECOMMENDER
from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.freshness import read_policies
from pipelines.stores.served import EVENT_LOG, FEATURE_LOG, FORGOTTEN_LOG, UNASSIGNED, Named, open_served
from serving.bundle import Bundle
from serving.event_log import EventLog
from serving.feature_log import FeatureLog
from serving.freshness import Freshness, ViewStore
from serving.metrics import Metrics
from serving.overlay import Overlay, recent_event
from serving.releases import ReleaseSource, ReleaseWatcher
from serving.settings import Settings
from serving.users import OnlineStore, UserReader

NOBODY = ""
"""An id that no user has: requests have one of a character at least."""
_logger = logging.getLogger(__name__)
Result = TypeVar("Result")
OpenStore = Callable[[Settings, str, str], OnlineStore]


class State:
    """What requests share. Everything in it is safe to use from several threads."""

    def __init__(self, settings: Settings, source: ReleaseSource, open_store: OpenStore) -> None:
        """Build the parts; nothing is loaded and no thread of ours polls yet."""
        self._open_store = open_store
        self.settings = settings
        self.metrics = Metrics(release_objective_seconds=settings.release_objective_seconds)
        self.freshness = Freshness(read_policies(settings.freshness_file), self.metrics)
        self.overlay = Overlay(max_users=settings.overlay_users, max_events=settings.overlay_length)
        self.events = EventLog(open_served(settings.served_log, EVENT_LOG, home=settings.home))
        self.forgotten = ForgottenUsers(open_served(settings.served_log, FORGOTTEN_LOG, home=settings.home))
        self.features = FeatureLog(
            open_served(settings.served_log, FEATURE_LOG, home=settings.home),
            share=settings.feature_log_share,
            keep=timedelta(hours=settings.feature_log_hours),
            max_bytes=settings.feature_log_bytes,
            dropped=self.metrics.features_dropped.inc,
        )
        self.metrics.follow(self.events.lag_seconds)
        self.pool = ThreadPoolExecutor(settings.threads or os.cpu_count() or 1, thread_name_prefix="score")
        self.watcher = ReleaseWatcher(
            source,
            settings.home / "serving" / "cache",
            open_users=self._open_users,
            metrics=self.metrics,
            retry_seconds=settings.retry_seconds,
        )

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run CPU-bound work in the scoring threads, so that the event loop stays free to accept."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def start(self) -> None:
        """Take back recent events from the log and follow those of other processes, then watch for releases."""
        replayed = self.events.recent(self.settings.overlay_users * 10)
        self.remember(replayed)
        self.events.follow(self._follow, seconds=self.settings.follow_seconds)
        self.watcher.start(self.settings.poll_seconds)
        _logger.info("watching alias %r of %r; %d events replayed", self.settings.alias, RECOMMENDER, len(replayed))

    def remember(self, events: Iterable[Named]) -> None:
        """Let accepted events count for the next request of their users."""
        kept = (named for named in events if not self.forgotten.has(named[0], named[1]["user_id"]))
        self.overlay.add(recent_event(dataset, record) for dataset, record in kept)

    def known_as(self, dataset: str, user_id: str) -> str:
        """Return whom models and stores are asked about: nobody, where the user was forgotten."""
        return NOBODY if self.forgotten.has(dataset, user_id) else user_id

    def _follow(self, events: list[Named]) -> None:
        """Learn who was forgotten and what other processes took in since."""
        if self.forgotten.refresh():
            self.overlay.drop(self.forgotten.has)
        self.remember(events)

    @property
    def dataset(self) -> str:
        """Return whose events come in: those of the live release's data set."""
        live = self.watcher.live
        return UNASSIGNED if live is None else live.bundle.manifest.dataset

    def stop(self) -> None:
        """Write what is queued and end the threads."""
        self.watcher.stop()
        self.events.close()
        self.features.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _open_users(self, bundle: Bundle) -> UserReader:
        dataset, settings = bundle.manifest.dataset, self.settings
        # The one this release was made for: a newer release may read another at the same time.
        service = bundle.manifest.feature_services["user"]
        return UserReader(
            lambda: self._fresh(self._open_store(settings, dataset, service)),
            self.overlay,
            dataset=dataset,
            knows_item=bundle.catalogue.rows.__contains__,
            history_length=bundle.manifest.history_length,
            retry_seconds=settings.store_retry_seconds,
        )

    def _fresh(self, store: OnlineStore) -> OnlineStore:
        # A store that does not know how old its rows are has nothing to enforce.
        return self.freshness.over(store) if isinstance(store, ViewStore) else store


def open_store(settings: Settings, dataset: str, service: str) -> OnlineStore:
    """Open the online feature store of a dataset, to read the features of a service."""
    from pipelines.stores.feature_store import FeatureStore

    store: OnlineStore = FeatureStore(
        home=settings.home,
        dataset=dataset,
        yaml_file=settings.feature_store_yaml or None,
        serving_service=service,
    )
    return store
