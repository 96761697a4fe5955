import threading
from datetime import UTC, datetime, timedelta

import pytest

from serving.overlay import Overlay, RecentEvent
from serving.recent import as_utc
from serving.users import User, UserReader

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def event(item, seconds=0.0):
    at = int((NOW + timedelta(seconds=seconds)).timestamp() * 1e6)
    return RecentEvent(at, at, f"{item}-{seconds}", "u", item)


class Store:
    def __init__(self, features=None):
        self.features = features or {}
        self.calls = 0
        self.down = False

    def online_user(self, user_id):
        self.calls += 1
        if self.down:
            raise ConnectionError("no route")
        return self.features


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def setup():
    store, clock, overlay = Store({"recent_items": ["a"], "seen_items": ["a"], "user_mean_value": None}), Clock(), None
    overlay = Overlay(max_users=10, max_events=10)
    reader = UserReader(
        lambda: store,
        overlay,
        dataset="tiny",
        history_length=3,
        retry_seconds=5,
        knows_item=lambda item: item != "unlisted",
        monotonic=clock,
    )
    return reader, store, overlay, clock


def test_features_without_a_value_are_left_to_the_defaults(setup):
    user = setup[0].read("u")
    assert user == User("u", {"recent_items": ["a"], "seen_items": ["a"]}, ("a",), True, ())


def test_a_user_nobody_knows_is_no_error(setup):
    reader, store, *_ = setup
    store.features = {"recent_items": None, "seen_items": None, "user_id": "x"}
    assert reader.read("x") == User("x", {"user_id": "x"}, (), False, ())


def test_events_since_the_features_come_on_top(setup):
    reader, store, overlay, _ = setup
    store.features = {"recent_items": ["a", "b"], "seen_items": ["a", "b"], "last_known_at": NOW, "user_num_events": 2}
    overlay.add([event("b", -60), event("c", 60), event("d", 61)])
    user = reader.read("u")
    assert user.features["recent_items"] == ["b", "c", "d"], "newest last, cut to what the models read"
    assert user.features["last_known_at"] == NOW + timedelta(seconds=61)
    assert user.features["user_num_events"] == 4
    assert user.seen == ("a", "b", "c", "d")


def test_events_of_items_the_release_does_not_know_do_not_count(setup):
    reader, _, overlay, _ = setup
    before = reader.read("u")
    overlay.add([event("unlisted")])
    assert reader.read("u") == before


def test_events_alone_make_a_user_known(setup):
    reader, store, overlay, _ = setup
    store.features = {}
    overlay.add([event("c")])
    user = reader.read("u")
    assert user.known
    assert user.features["recent_items"] == ["c"]


def test_a_store_that_is_down_is_left_alone_for_a_while(setup):
    reader, store, overlay, clock = setup
    store.down = True
    overlay.add([event("c")])
    first, second = reader.read("u"), reader.read("u")
    assert first.degraded == second.degraded == ("user_features",)
    assert first.seen == ("c",), "recent events still count"
    assert store.calls == 1
    assert "no route" in reader.failure
    store.down, clock.now = False, clock.now + 5
    assert reader.read("u").degraded == ()
    assert reader.failure is None


def test_a_store_that_cannot_be_opened_is_tried_again():
    tries, clock = [], Clock()

    def open_store():
        tries.append(1)
        if len(tries) == 1:
            raise FileNotFoundError("registry.db")
        return Store({"user_num_events": 1})

    reader = UserReader(
        open_store,
        Overlay(max_users=1, max_events=1),
        dataset="tiny",
        history_length=1,
        retry_seconds=0,
        monotonic=clock,
    )
    assert reader.read("u").degraded == ("user_features",)
    assert reader.read("u").known


def test_while_one_request_opens_the_store_the_others_do_not_wait():
    opening, opened, users = threading.Event(), threading.Event(), []

    def slow():
        opening.set()
        opened.wait(10)
        return Store({"user_num_events": 1})

    reader = UserReader(slow, Overlay(max_users=1, max_events=1), dataset="tiny", history_length=1, retry_seconds=0)
    thread = threading.Thread(target=lambda: users.append(reader.read("u")))
    thread.start()
    opening.wait(10)
    assert reader.read("u").degraded == ("user_features",)
    opened.set()
    thread.join(10)
    assert [user.degraded for user in [*users, reader.read("u")]] == [(), ()]


@pytest.mark.parametrize("moment", [NOW, NOW.replace(tzinfo=None), NOW.timestamp(), NOW.astimezone()])
def test_moments_of_any_store_are_utc(moment):
    assert as_utc(moment) == NOW
    assert as_utc(None) is None
