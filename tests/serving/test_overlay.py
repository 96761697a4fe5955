from serving.overlay import Overlay, RecentEvent, recent_event

DATASET = "tiny"


def event(user, item, at=0, name=None, dataset=DATASET):
    return RecentEvent(at, at, name or f"{user}-{item}", user, item, None, dataset)


def items(overlay, user):
    return [e.item_id for e in overlay.of(DATASET, user)]


def test_events_of_a_user_come_in_the_order_they_became_known():
    overlay = Overlay(max_users=10, max_events=10)
    overlay.add([event("u", "c", 1), event("v", "b"), event("u", "a")])
    assert items(overlay, "u") == ["a", "c"]
    assert items(overlay, "nobody") == []


def test_a_user_keeps_the_newest_events_only():
    overlay = Overlay(max_users=10, max_events=2)
    overlay.add([event("u", item, at) for at, item in enumerate("abc")])
    assert items(overlay, "u") == ["b", "c"]


def test_the_user_quiet_longest_is_forgotten_first():
    overlay = Overlay(max_users=2, max_events=2)
    overlay.add([event("u", "a"), event("v", "a"), event("u", "b"), event("w", "a")])
    assert len(overlay) == 2
    assert items(overlay, "v") == []
    assert items(overlay, "u")


def test_of_events_with_one_id_the_one_known_first_counts():
    overlay = Overlay(max_users=2, max_events=9)
    overlay.add([event("u", "late", 5, name="e"), event("u", "early", 3, name="e"), event("u", "later", 9, name="e")])
    assert items(overlay, "u") == ["early"]


def test_users_of_other_data_sets_are_other_users():
    overlay = Overlay(max_users=9, max_events=9)
    overlay.add([event("u", "here"), event("u", "there", dataset="other"), event("u", "before", -1, "x", "unassigned")])
    assert items(overlay, "u") == ["before", "here"]


def test_a_log_record_becomes_an_event():
    record = {"event_id": "e", "user_id": "u", "item_id": "a", "value": 3.0}
    record |= {"event_timestamp": "1970-01-01T00:00:01.000002+00:00", "ingested_at": "1970-01-01T00:00:02+00:00"}
    assert recent_event(DATASET, record) == RecentEvent(2_000_000, 1_000_002, "e", "u", "a", 3.0, DATASET)
