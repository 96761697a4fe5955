"""User features after events that they do not hold yet: the same values the offline transformations would give.

`pipelines.features.users` defines them over all events of a user. Here they are carried forward from what the online
store has: history, counts, and the state of the windows (`user_window`), which says when each recent event became
known. Taste is known a day at a time, so events of today do not change it; attributes no event changes.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from serving.overlay import RecentEvent

RECENT_ITEMS = "recent_items"
LAST_KNOWN_AT = "last_known_at"
WINDOW_KNOWN_AT = "window_known_at"
VALUE_SUM = "value_sum"
NUM_VALUES = "num_values"
NUM_EVENTS = "user_num_events"
_WINDOWS = {"user_num_events_7d": 7, "user_num_events_30d": 30}
_DAY = 86_400_000_000
_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = Decimal("0.000001")


@dataclass(frozen=True)
class Applied:
    """Features after events, and the events that were new to them, in order."""

    features: Mapping[str, Any]
    new: tuple[RecentEvent, ...]


def apply_events(features: Mapping[str, Any], events: Sequence[RecentEvent], *, history_length: int) -> Applied:
    """Carry features forward over the events that they do not hold.

    Args:
        features: of the online store, without those that have no value.
        events: of one user, in order.
        history_length: recent items the models read.
    """
    window: Sequence[int] = features.get(WINDOW_KNOWN_AT) or ()
    last = window[-1] if window else _last_second(features)
    new = tuple(event for event in events if event.known_at > last)
    if not new:
        return Applied(features, ())
    now = new[-1].known_at
    after = dict(features)
    after[NUM_EVENTS] = (features.get(NUM_EVENTS) or 0) + len(new)
    for name, days in _WINDOWS.items():
        begins = now - days * _DAY
        # The window's state goes back 30 days, or as far as it is long: then the count stands as long as none left.
        left_some = window and begins > window[0]
        before = len(window) - bisect_left(window, begins) if left_some else features.get(name) or 0
        after[name] = before + sum(event.known_at >= begins for event in new)
    after |= _mean(features, new)
    after[RECENT_ITEMS] = [*(features.get(RECENT_ITEMS) or ()), *(event.item_id for event in new)][-history_length:]
    after[LAST_KNOWN_AT] = _EPOCH + timedelta(seconds=now // _SECOND)
    return Applied(after, new)


def stored_until(features: Mapping[str, Any]) -> datetime | None:
    """Return the moment just after the last event that the online store's features hold; None if they hold none."""
    window = features.get(WINDOW_KNOWN_AT)
    return _EPOCH + timedelta(microseconds=window[-1] + 1) if window else None


def _last_second(features: Mapping[str, Any]) -> int:
    """Without the windows' state, the end of the last second of which the features know: online times are whole."""
    known = as_utc(features.get(LAST_KNOWN_AT))
    if known is None:
        return -1
    return (int(known.timestamp()) + 1) * _SECOND - 1


def _mean(features: Mapping[str, Any], new: Sequence[RecentEvent]) -> dict[str, Any]:
    values = [Decimal(event.value).quantize(_EXACT) for event in new if event.value is not None]
    if not values or (VALUE_SUM not in features and NUM_EVENTS in features):
        return {}
    total = Decimal(features.get(VALUE_SUM) or 0) + sum(values)
    return {"user_mean_value": float(total) / ((features.get(NUM_VALUES) or 0) + len(values))}


def as_utc(moment: Any) -> datetime | None:
    """Return a moment of the online store, which may come without a zone or as seconds, in UTC."""
    if moment is None:
        return None
    if isinstance(moment, int | float):
        return datetime.fromtimestamp(moment, UTC)
    aware: datetime = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware
