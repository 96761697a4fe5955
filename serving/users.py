"""What is known of a user at request time: online features plus what happened since they were computed."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from serving.overlay import Overlay, RecentEvent

USER_FEATURES = "user_features"
RECENT_ITEMS = "recent_items"
SEEN_ITEMS = "seen_items"
LAST_KNOWN_AT = "last_known_at"
_COUNTS = ("user_num_events", "user_num_events_7d", "user_num_events_30d")
_logger = logging.getLogger(__name__)


class OnlineStore(Protocol):
    """The read side of the feature store."""

    def online_user(self, user_id: str) -> Mapping[str, Any]:
        """Return feature -> value of a user; None or a missing key where nothing is known."""


@dataclass(frozen=True)
class User:
    """A user as the models see them.

    Attributes:
        user_id: who.
        features: feature -> value; missing features take the models' defaults.
        seen: items not to show again.
        known: whether anything at all is known.
        degraded: parts that could not be asked.
    """

    user_id: str
    features: Mapping[str, Any] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    known: bool = False
    degraded: tuple[str, ...] = ()


class UserReader:
    """Reads a user from the online store and lays the overlay over it.

    A store that failed is left alone for `retry_seconds`: while it is down, requests do not queue up for its
    timeouts, they are answered with default features and say so.
    """

    def __init__(
        self,
        open_store: Callable[[], OnlineStore],
        overlay: Overlay,
        *,
        history_length: int,
        retry_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the store with the first read, so that a release loads while the store is down."""
        self._open_store = open_store
        self._overlay = overlay
        self._history_length = history_length
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic
        self._store: OnlineStore | None = None
        self._closed_until = 0.0
        self._lock = threading.Lock()
        self.failure: str | None = None

    def read(self, user_id: str) -> User:
        """Return what is known of a user; never raises."""
        features = self._online(user_id)
        degraded = () if features is not None else (USER_FEATURES,)
        known = {name: value for name, value in (features or {}).items() if value is not None}
        user = User(
            user_id=user_id,
            features=known,
            seen=tuple(known.get(SEEN_ITEMS, ())),
            known=bool(known.keys() - {"user_id"}),
            degraded=degraded,
        )
        return overlaid(user, self._overlay.of(user_id), history_length=self._history_length)

    def _online(self, user_id: str) -> Mapping[str, Any] | None:
        if self._store is not None and self.failure is None:
            return self._ask(user_id)
        # Not open, or failed before: one request tries, the others do not wait for it.
        if self._monotonic() < self._closed_until or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._ask(user_id)
        finally:
            self._lock.release()

    def _ask(self, user_id: str) -> Mapping[str, Any] | None:
        try:
            if self._store is None:
                self._store = self._open_store()
            features = self._store.online_user(user_id)
        except Exception as error:  # whatever a store's driver raises, the request is answered
            self._closed_until = self._monotonic() + self._retry_seconds
            self.failure = f"{type(error).__name__}: {error}"
            _logger.warning("online features cannot be read, defaults are used: %s", self.failure)
            return None
        self.failure = None
        return features


def overlaid(user: User, events: tuple[RecentEvent, ...], *, history_length: int) -> User:
    """Return the user after `events`, those that the online features already hold left out.

    Args:
        user: from the online store.
        events: newest last.
        history_length: recent items the models read.
    """
    last = as_utc(user.features.get(LAST_KNOWN_AT))
    recent = user.features.get(RECENT_ITEMS, ())
    new = [event for event in events if _is_new(event, last, recent)]
    if not new:
        return user
    items = [event.item_id for event in new]
    counts = {name: (user.features.get(name) or 0) + len(new) for name in _COUNTS}
    history = [*recent, *items][-history_length:]
    features = {**user.features, **counts, RECENT_ITEMS: history, LAST_KNOWN_AT: new[-1].known_at}
    return replace(user, features=features, seen=(*user.seen, *items), known=True)


def _is_new(event: RecentEvent, last: datetime | None, recent: Sequence[str]) -> bool:
    """Whether online features do not hold the event yet. They keep whole seconds; within one, its item decides."""
    moment = event.known_at.replace(microsecond=0)
    return last is None or moment > last or (moment == last and event.item_id not in recent)


def as_utc(moment: Any) -> datetime | None:
    """Return a moment of the online store, which may come without a zone or as seconds, in UTC."""
    if moment is None:
        return None
    if isinstance(moment, int | float):
        return datetime.fromtimestamp(moment, UTC)
    aware: datetime = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware
