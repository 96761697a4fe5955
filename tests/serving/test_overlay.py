from datetime import UTC, datetime, timedelta

from serving.overlay import Overlay, RecentEvent, recent_event

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def event(user, item, seconds=0):
    return RecentEvent(user, item, NOW + timedelta(seconds=seconds))


def test_events_of_a_user_come_newest_last():
    overlay = Overlay(max_users=10, max_events=10)
    overlay.add([event("u", "a"), event("v", "b"), event("u", "c", 1)])
    assert [e.item_id for e in overlay.of("u")] == ["a", "c"]
    assert overlay.of("nobody") == ()


def test_a_user_keeps_the_newest_events_only():
    overlay = Overlay(max_users=10, max_events=2)
    overlay.add([event("u", item) for item in "abc"])
    assert [e.item_id for e in overlay.of("u")] == ["b", "c"]


def test_the_user_quiet_longest_is_forgotten_first():
    overlay = Overlay(max_users=2, max_events=2)
    overlay.add([event("u", "a"), event("v", "a"), event("u", "b"), event("w", "a")])
    assert len(overlay) == 2
    assert overlay.of("v") == ()
    assert overlay.of("u")


def test_a_log_record_becomes_an_event():
    record = {"user_id": "u", "item_id": "a", "ingested_at": NOW.isoformat(), "value": 3.0}
    assert recent_event(record) == event("u", "a")
