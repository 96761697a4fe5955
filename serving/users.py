"""What is known of a user at request time: online features plus what happened since they were computed."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pipelines.stores.freshness import ExpiredFeaturesError
from serving.overlay import Overlay
from serving.recent import apply_events

USER_FEATURES = "user_features"
SEEN_ITEMS = "seen_items"
_logger = logging.getLogger(__name__)


class Features(dict[str, Any]):
    """Feature -> value of a user as policies let it be read, and the views of which the user's row had expired."""

    expired: tuple[str, ...] = ()


class OnlineStore(Protocol):
    """The read side of the feature store."""

    def online_user(self, user_id: str) -> Mapping[str, Any]:
        """Return feature -> value of a user; None or a missing key where nothing is known.

        A store that enforces how old rows may be returns `Features`.
        """


@dataclass(frozen=True)
class User:
    """A user as the models see them.

    Attributes:
        user_id: who.
        features: feature -> value; missing features take the models' defaults.
        seen: items not to show again.
        known: whether anything at all is known.
        degraded: parts that could not be asked.
        expired: views whose features are not the user's, for their rows were too old.
    """

    user_id: str
    features: Mapping[str, Any] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    known: bool = False
    degraded: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()


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
        dataset: str,
        history_length: int,
        retry_seconds: float,
        knows_item: Callable[[str], bool] = lambda _: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the store with the first read, so that a release loads while the store is down.

        Events of items that `knows_item` denies do not count: models know nothing of those either, and the lake sets
        aside what is in no catalogue.
        """
        self._open_store = open_store
        self._overlay = overlay
        self._dataset = dataset
        self._knows_item = knows_item
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
            expired=features.expired if isinstance(features, Features) else (),
        )
        return self._after_events(user)

    def _after_events(self, user: User) -> User:
        events = [e for e in self._overlay.of(self._dataset, user.user_id) if self._knows_item(e.item_id)]
        if not events:
            return user
        applied = apply_events(user.features, events, history_length=self._history_length)
        seen = (*user.seen, *(event.item_id for event in applied.new))
        return replace(user, features=applied.features, seen=seen, known=True)

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
        except ExpiredFeaturesError as error:  # of this user: the store answers, others are asked as before
            _logger.debug("default features are used: %s", error)
            self.failure = None
            return None
        except Exception as error:  # whatever a store's driver raises, the request is answered
            self._closed_until = self._monotonic() + self._retry_seconds
            self.failure = f"{type(error).__name__}: {error}"
            _logger.warning("online features cannot be read, defaults are used: %s", self.failure)
            return None
        self.failure = None
        return features
