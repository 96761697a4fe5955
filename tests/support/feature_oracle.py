"""Features of one label, recomputed in plain Python from raw rows known strictly before it."""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRIOR_VALUES = 10

Row = dict[str, Any]


class Oracle:
    """Raw rows, and what they say about a user and an item at a moment."""

    def __init__(self, tables: dict[str, list[Row]], *, delay_seconds: float, history: int, taste: int) -> None:
        delay = timedelta(seconds=delay_seconds)
        known = [{**e, "known_at": max(e["event_timestamp"], e["ingested_at"]) + delay} for e in tables["events"]]
        self.events = sorted(known, key=lambda e: (e["known_at"], e["event_timestamp"], e["event_id"]))
        self.items, self.users = _by_key(tables["items"], "item_id"), _by_key(tables["users"], "user_id")
        self.history, self.taste = history, taste

    def features(self, user_id: str, item_id: str, at: datetime) -> Row:
        """Every feature of `ranking_v1`."""
        known = self.events[: bisect_left(self.events, at, key=lambda e: e["known_at"])]
        mine = [e for e in known if e["user_id"] == user_id]
        past = known[: bisect_left(known, _midnight(at), key=lambda e: e["known_at"])]
        row = self._activity(mine) | self._taste([e for e in past if e["user_id"] == user_id])
        row["recent_items"] = [e["item_id"] for e in mine][-self.history :] or None
        row |= self._popularity(item_id, past, at) | self._quality(item_id, past)
        row["attributes"] = _newest(self.users[user_id], at).get("attributes")
        content = _newest(self.items[item_id], at)
        row |= {name: content.get(name) for name in ("title", "text", "categories")}
        return row | self._request(row, at)

    def _activity(self, mine: list[Row]) -> Row:
        if not mine:
            return dict.fromkeys(
                ["user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at"]
            )
        last = mine[-1]["known_at"]
        values = [e["value"] for e in mine if e["value"] is not None]
        return {
            "user_num_events": len(mine),
            "user_num_events_7d": sum(e["known_at"] >= last - 7 * DAY for e in mine),
            "user_num_events_30d": sum(e["known_at"] >= last - 30 * DAY for e in mine),
            "user_mean_value": sum(values) / len(values) if values else None,
            "last_known_at": last.replace(microsecond=0),
        }

    def _taste(self, past: list[Row]) -> Row:
        counts: Counter[str] = Counter()
        for e in past:
            # An item's row counts from the moment it was updated on.
            in_force = _newest(self.items[e["item_id"]], e["known_at"])
            counts.update(in_force.get("categories") or [])
        largest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: self.taste]
        return {
            "taste_categories": [name for name, _ in largest] or None,
            "taste_weights": [num / counts.total() for _, num in largest] or None,
        }

    def _popularity(self, item_id: str, past: list[Row], at: datetime) -> Row:
        midnight = _midnight(at)
        mine = [e["known_at"] for e in past if e["item_id"] == item_id]
        windows = {f"item_num_events_{n}d": sum(k >= midnight - n * DAY for k in mine) for n in (1, 7, 30)}
        row = {**windows, "item_num_events": len(mine)}
        return row if mine else dict.fromkeys(row)

    def _quality(self, item_id: str, past: list[Row]) -> Row:
        valued = [e for e in past if e["value"] is not None]
        mine = [e for e in valued if e["item_id"] == item_id]
        if not mine:
            return dict.fromkeys(["item_mean_value", "item_num_values", "item_value_std"])
        until = _midnight(max(e["known_at"] for e in mine)) + DAY
        everyone = [e["value"] for e in valued if e["known_at"] < until]
        values = [e["value"] for e in mine]
        mean = sum(values) / len(values)
        overall = sum(everyone) / len(everyone)
        return {
            "item_mean_value": (sum(values) + PRIOR_VALUES * overall) / (len(values) + PRIOR_VALUES),
            "item_num_values": len(values),
            "item_value_std": math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)),
        }

    def _request(self, row: Row, at: datetime) -> Row:
        weights = dict(zip(row["taste_categories"] or [], row["taste_weights"] or [], strict=True))
        last = row["last_known_at"]
        return {
            "hour": at.hour,
            "weekday": at.weekday(),
            "days_since_last_event": None if last is None else (at - last) / DAY,
            "taste_match": sum(weights.get(name, 0.0) for name in row["categories"] or []),
        }


def differences(row: Row, expected: Row) -> dict[str, tuple[Any, Any]]:
    """Feature -> (joined, expected) wherever the two differ; float32 is compared to 6 digits."""
    return {name: (row[name], value) for name, value in expected.items() if not _equal(row[name], value)}


def _equal(actual: Any, expected: Any) -> bool:
    if isinstance(expected, float) and actual is not None:
        return math.isclose(actual, expected, rel_tol=1e-6, abs_tol=1e-6)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(actual) == len(expected) and all(map(_equal, actual, expected))
    return bool(actual == expected)


def _by_key(rows: list[Row], key: str) -> defaultdict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def _newest(rows: list[Row], at: datetime) -> Row:
    known = [row for row in rows if row["updated_at"] <= at]
    return max(known, key=lambda row: row["updated_at"], default={})


def _midnight(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // DAY * DAY
