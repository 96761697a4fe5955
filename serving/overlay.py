"""What users did since their features were computed: kept in memory, applied to the next request."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RecentEvent:
    """One accepted event, as far as recommending needs it."""

    user_id: str
    item_id: str
    known_at: datetime


def recent_event(record: Mapping[str, Any]) -> RecentEvent:
    """Return the part of an event log's record that recommending needs."""
    return RecentEvent(record["user_id"], record["item_id"], datetime.fromisoformat(record["ingested_at"]))


class Overlay:
    """The newest events of the users who acted last. Bounded: the user who was quiet longest is forgotten."""

    def __init__(self, *, max_users: int, max_events: int) -> None:
        """Keep at most `max_events` events of each of at most `max_users` users."""
        self._max_users = max_users
        self._max_events = max_events
        self._users: OrderedDict[str, deque[RecentEvent]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, events: Iterable[RecentEvent]) -> None:
        """Remember events, in the order given."""
        with self._lock:
            for event in events:
                kept = self._users.setdefault(event.user_id, deque(maxlen=self._max_events))
                kept.append(event)
                self._users.move_to_end(event.user_id)
            while len(self._users) > self._max_users:
                self._users.popitem(last=False)

    def of(self, user_id: str) -> tuple[RecentEvent, ...]:
        """Return the remembered events of a user, newest last."""
        with self._lock:
            return tuple(self._users.get(user_id, ()))

    def __len__(self) -> int:
        """Users remembered."""
        return len(self._users)
