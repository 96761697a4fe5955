"""A forgotten user is nobody to every serving process, at once and after a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import EVENT_LOG, FEATURE_LOG, FORGOTTEN_LOG, REDIS_VARIABLE, Place, open_served
from serving.app import create_app
from serving.overlay import Overlay, RecentEvent
from serving.settings import Settings
from tests.support.redis_server import SERVER, redis_server
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.tiny_release import AS_OF, write_tiny_release

SEEN = ["001", "002"]
FEATURES = {"user_num_events": 3, "recent_items": SEEN, "seen_items": SEEN, "last_known_at": AS_OF}
NOW = datetime(2025, 5, 1, tzinfo=UTC)


class Serving:
    """A release and an online store, served by one or more processes of one home."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.source, self.store = FakeSource(), FakeStore({"u1": FEATURES, "u2": FEATURES})
        self.source.point(self.source.put("1", write_tiny_release(folder / "release")))
        self.settings = Settings(
            home=folder / "home", poll_seconds=0.05, follow_seconds=0.02, feature_log_share=1, served_log=place
        )
        self.place = place

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        app = create_app(self.settings, source=self.source, open_store=lambda settings, dataset, service: self.store)
        with served(app) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client

    def forget(self, user_id: str) -> None:
        log = open_served(self.place, FORGOTTEN_LOG, home=self.settings.home)
        ForgottenUsers(log).add("tiny", user_id, at=NOW)
        log.close()

    def logged(self, kind: str) -> list[str]:
        log = open_served(self.place, kind, home=self.settings.home)
        users = [record["user_id"] for record in log.newest("tiny", 100)]
        log.close()
        return users


@pytest.fixture(params=["files", "redis"])
def serving(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    if request.param == "files":
        yield Serving(tmp_path, "files")
        return
    if SERVER is None:
        pytest.skip("redis-server is not installed")
    with redis_server(tmp_path) as address:
        monkeypatch.setenv(REDIS_VARIABLE, address)
        yield Serving(tmp_path, "redis")


def ask(client: httpx.Client, user: str) -> dict[str, Any]:
    return dict(client.post("/v1/recommendations", json={"user_id": user, "count": 50}).json())


def post(client: httpx.Client, *users: str) -> dict[str, Any]:
    events = [{"user_id": user, "item_id": "003", "event_type": "view"} for user in users]
    return dict(client.post("/v1/events", json={"events": events}).json())


def test_a_forgotten_user_is_nobody(serving: Serving) -> None:
    with serving.running() as client:
        assert post(client, "u1", "u2")["accepted"] == 2
        before = ask(client, "u1")
        assert before["user_known"]
        assert not {*SEEN, "003"} & {item["item_id"] for item in before["items"]}
        serving.forget("u1")
        wait_until(lambda: not ask(client, "u1")["user_known"])
        answer = ask(client, "u1")
        assert {*SEEN, "003"} <= {item["item_id"] for item in answer["items"]}, "nothing is known of what was seen"
        assert answer["user_id"] == "u1"
        explained = client.get("/v1/explanations", params={"user_id": "u1", "item_id": "003"}).json()
        assert explained["user_id"] == "u1"
        assert post(client, "u1", "u2") | {"event_ids": []} == {
            "accepted": 1, "duplicates": 0, "ignored": 1, "event_ids": []
        }  # fmt: skip
        assert ask(client, "u2")["user_known"], "others are who they were"
        assert "u1" not in client.get("/v1/release").json()["sample_users"]
    assert serving.logged(EVENT_LOG) == ["u1", "u2", "u2"], "what came before is for the step to erase"
    kept = serving.logged(FEATURE_LOG)
    assert kept[-1] == "u2"
    assert "" not in kept
    with serving.running() as client:
        answer = ask(client, "u1")
        assert not answer["user_known"], "after a restart, too, although the log still has an event"
        assert "003" in {item["item_id"] for item in answer["items"]}


def test_the_overlay_drops_a_user() -> None:
    overlay = Overlay(max_users=9, max_events=9)
    overlay.add(RecentEvent(1, 1, f"e{user}", user, "i", dataset="tiny") for user in ("a", "b"))
    overlay.drop(lambda dataset, user: (dataset, user) == ("tiny", "a"))
    assert overlay.of("tiny", "a") == ()
    assert [event.user_id for event in overlay.of("tiny", "b")] == ["b"]
