"""Features carried forward online equal those the real transformations compute for the same moment."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.features.compute import connect, run
from pipelines.features.events import known_events
from pipelines.features.users import user_activity, user_history, user_seen, user_window
from serving.overlay import Overlay, recent_event
from serving.recent import apply_events
from serving.users import UserReader

NOW = datetime(2025, 6, 1, 10, tzinfo=UTC)
LENGTHS = {"history": 5, "window": 1_000, "seen": 50}
USERS = ["u", "v"]


class Offline:
    """The transformations over one list of events, for any moment."""

    def __init__(self, events: list[dict[str, Any]], tmp_path: Any, *, delay_seconds: float = 0.0) -> None:
        import ibis
        import pyarrow as pa

        from pipelines.config import FeatureConfig
        from pipelines.data.schemas import LAKE_SCHEMAS

        self.delay = delay_seconds
        self.connection = connect(FeatureConfig(memory_limit="500MB"), tmp_path / "spill")
        self.connection.register("events", pa.Table.from_pylist(events, LAKE_SCHEMAS["events"]))
        self.events = ibis.table(ibis.Schema.from_pyarrow(LAKE_SCHEMAS["events"]), name="events")

    def features(self, moment: datetime, *, state: bool = False) -> dict[str, dict[str, Any]]:
        """User -> features known strictly before a moment; whole seconds as an online store keeps them."""
        known = known_events(self.events, as_of=moment, delay_seconds=self.delay)
        tables = [user_activity(known, as_of=moment), user_history(known, as_of=moment, length=LENGTHS["history"])]
        if state:
            tables += [
                user_window(known, as_of=moment, length=LENGTHS["window"]),
                user_seen(known, as_of=moment, length=LENGTHS["seen"]),
            ]
        found: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        for table in tables:
            newest = run(self.connection, table.order_by("event_timestamp")).to_arrow_table().to_pylist()
            for row in newest:
                found[row["user_id"]] |= {k: v for k, v in row.items() if not k.endswith("_timestamp")}
        return found


def lake_row(number: int, rng: random.Random, moment: datetime) -> dict[str, Any]:
    """An event that arrives at a moment: some long after they happened, some at the moment of another."""
    late = timedelta(days=rng.randint(0, 40), seconds=rng.randint(0, 90)) if rng.random() < 0.3 else timedelta(0)
    return {
        "event_id": f"e{number:03d}",
        "user_id": rng.choice(USERS),
        "item_id": f"i{rng.randint(0, 8)}",
        "event_type": "view",
        "value": rng.choice([None, 1.0, 2.5, 0.1, 3.3333333, -7.25, 1e6 / 3]),
        "event_timestamp": moment - late,
        "ingested_at": moment,
        "session_id": None,
        "device": None,
        "source_partition": "served:x:tiny:1",
    }


def sequence(seed: int) -> list[dict[str, Any]]:
    """Events in order of arrival, over months, days, seconds and microseconds, some at one and the same moment."""
    rng, moment, rows = random.Random(seed), NOW, []
    steps = [timedelta(0), timedelta(microseconds=1), timedelta(seconds=1), timedelta(hours=5)]
    steps += [timedelta(days=1), timedelta(days=7), timedelta(days=7, microseconds=-1), timedelta(days=30)]
    for number in range(60):
        moment += rng.choice(steps)
        rows.append(lake_row(number, rng, moment))
    return rows


def posted(rows: list[dict[str, Any]], rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """The rows as the log's records, a third of them sent a second time later to another process; in any order."""
    records = [
        {**row, "event_timestamp": row["event_timestamp"].isoformat(), "ingested_at": row["ingested_at"].isoformat()}
        for row in rows
    ]
    again = [{**r, "ingested_at": (NOW + timedelta(days=999)).isoformat()} for r in records if rng.random() < 0.3]
    records += again
    rng.shuffle(records)
    return [("tiny", record) for record in records]


def told(features: Any) -> dict[str, Any]:
    """What models read: features that have a value, floats as narrow as a model's input."""
    state = ("user_id", "window_known_at", "value_sum", "num_values", "seen_items")
    narrow = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in features.items()}
    return {k: v for k, v in narrow.items() if v is not None and k not in state}


def online(store: dict[str, Any], overlay: Overlay, user: str) -> Any:
    class Store:
        def online_user(self, user_id: str) -> dict[str, Any]:
            return store

    return UserReader(Store, overlay, dataset="tiny", history_length=LENGTHS["history"], retry_seconds=0).read(user)


@pytest.mark.parametrize("seed", range(3))
def test_online_after_events_equals_offline_at_the_same_moment(seed: int, tmp_path: Any) -> None:
    rows, rng = sequence(seed), random.Random(seed + 100)
    offline = Offline(rows, tmp_path, delay_seconds=3_600.0)
    compared = 0
    for _ in range(3):
        drained = rng.choice(rows)["ingested_at"]  # a drain ends at a moment: what arrived before it is in the store
        now = max(drained, rng.choice(rows)["ingested_at"]) + timedelta(microseconds=rng.randint(1, 3))
        arrived = [row for row in rows if row["ingested_at"] < now]
        overlay = Overlay(max_users=10, max_events=1_000)
        overlay.add(recent_event(name, record) for name, record in posted(arrived, rng))
        stored, expected = offline.features(drained, state=True), offline.features(now, state=True)
        for user in USERS:
            read = online(stored[user], overlay, user)
            assert told(read.features) == told(expected[user])
            assert set(read.seen) == set(expected[user].get("seen_items", ()))
            compared += len(told(expected[user]))
    assert compared > 20


def test_without_the_windows_state_counts_still_grow() -> None:
    """Features that were materialized before the view `user_window` existed."""
    features = {"user_num_events": 4, "user_num_events_7d": 2, "user_num_events_30d": 3, "user_mean_value": 2.0}
    features |= {"recent_items": ["a"], "last_known_at": NOW}
    overlay = Overlay(max_users=1, max_events=9)
    for number, seconds in enumerate((-5, 0.5, 90)):
        moment = (NOW + timedelta(seconds=seconds)).isoformat()
        record = {"event_id": str(number), "user_id": "u", "item_id": f"i{number}", "value": 5.0}
        overlay.add([recent_event("tiny", {**record, "event_timestamp": moment, "ingested_at": moment})])
    applied = apply_events(features, overlay.of("tiny", "u"), history_length=3)
    assert [event.item_id for event in applied.new] == ["i2"], "an event of the last second known may be in already"
    assert applied.features["user_num_events_7d"] == 3
    assert applied.features["user_mean_value"] == 2.0
    assert applied.features["recent_items"] == ["a", "i2"]


def test_a_window_longer_than_its_state_counts_what_the_state_knows() -> None:
    last = int(NOW.timestamp() * 1e6)
    times = [last - 2 * 86_400_000_000, last - 1, last]
    features = {"user_num_events": 9, "user_num_events_7d": 8, "user_num_events_30d": 9, "window_known_at": times}

    def after(days: float) -> Any:
        overlay = Overlay(max_users=1, max_events=9)
        moment = (NOW + timedelta(days=days)).isoformat()
        record = {"event_id": "e", "user_id": "u", "item_id": "i", "event_timestamp": moment, "ingested_at": moment}
        overlay.add([recent_event("tiny", record)])
        return apply_events(features, overlay.of("tiny", "u"), history_length=3).features["user_num_events_7d"]

    assert after(1) == 8 + 1
    assert after(6) == 2 + 1
    assert after(8) == 0 + 1
