"""What users did since their features were computed: kept in memory, applied to the next request."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.stores.served import UNASSIGNED

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, order=True)
class RecentEvent:
    """One accepted event, as far as recommending needs it, ordered as the feature transformations order events.

    Attributes:
        known_at: microseconds since 1970, UTC, at which it became known.
        happened_at: microseconds since 1970, UTC, at which it happened.
        event_id: makes counting it twice impossible.
        user_id: who.
        item_id: what.
        value: how much; None where there is no such thing.
        dataset: data set it belongs to, or `unassigned`.
    """

    known_at: int
    happened_at: int
    event_id: str
    user_id: str
    item_id: str
    value: float | None = None
    dataset: str = UNASSIGNED


def recent_event(dataset: str, record: Mapping[str, Any]) -> RecentEvent:
    """Return the part of an event log's record that recommending needs."""
    happened, arrived = microseconds(record["event_timestamp"]), microseconds(record["ingested_at"])
    who, what = record["user_id"], record["item_id"]
    return RecentEvent(max(happened, arrived), happened, record["event_id"], who, what, record.get("value"), dataset)


def microseconds(moment: str) -> int:
    """Return microseconds since 1970 of an ISO 8601 moment."""
    return (datetime.fromisoformat(moment) - _EPOCH) // _MICROSECOND


class Overlay:
    """The newest events of the users who acted last. Bounded: the user who was quiet longest is forgotten."""

    def __init__(self, *, max_users: int, max_events: int) -> None:
        """Keep at most `max_events` events of each of at most `max_users` users."""
        self._max_users = max_users
        self._max_events = max_events
        self._users: OrderedDict[tuple[str, str], OrderedDict[str, RecentEvent]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, events: Iterable[RecentEvent]) -> None:
        """Remember events; of two with one id the one that was known first counts, as in the lake."""
        with self._lock:
            for event in events:
                key = (event.dataset, event.user_id)
                kept = self._users.setdefault(key, OrderedDict())
                before = kept.get(event.event_id)
                kept[event.event_id] = event if before is None else min(before, event)
                if len(kept) > self._max_events:
                    kept.popitem(last=False)
                self._users.move_to_end(key)
            while len(self._users) > self._max_users:
                self._users.popitem(last=False)

    def drop(self, forgotten: Callable[[str, str], bool]) -> None:
        """Forget the users, by data set and id, for whom `forgotten` is true."""
        gone = [key for key in list(self._users) if forgotten(*key)]
        with self._lock:
            for key in gone:
                self._users.pop(key, None)

    def of(self, dataset: str, user_id: str) -> tuple[RecentEvent, ...]:
        """Return the remembered events of a user in order, newest last, with those of no data set yet."""
        with self._lock:
            events = {
                event_id: event
                for name in (UNASSIGNED, dataset)
                for event_id, event in self._users.get((name, user_id), {}).items()
            }
        return tuple(sorted(events.values(), key=_order))

    def __len__(self) -> int:
        """Users remembered."""
        return len(self._users)


def _order(event: RecentEvent) -> tuple[int, int, str]:
    return event.known_at, event.happened_at, event.event_id
