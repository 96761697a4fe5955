"""A serving application for tests: a tiny release, users in memory, over real HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.config import RulesConfig
from serving.app import create_app
from serving.settings import Settings
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.tiny_release import AS_OF, write_tiny_release

SEEN = ["001", "002"]
USERS = {"u1": {"user_num_events": 3, "recent_items": SEEN, "seen_items": SEEN, "last_known_at": AS_OF}}

Parts = tuple[Settings, FakeSource, FakeStore]


def make_parts(folder: Path) -> Parts:
    source, store = FakeSource(), FakeStore(USERS)
    release = write_tiny_release(folder / "release", rules=RulesConfig(blocked_items=("009",)))
    source.point(source.put("1", release))
    settings = Settings(home=folder / "home", poll_seconds=0.05, store_retry_seconds=0, max_count=50, max_events=3)
    return settings, source, store


@contextmanager
def ready(parts: Parts) -> Iterator[Any]:
    settings, source, store = parts
    app = create_app(settings, source=source, open_store=lambda settings, dataset, service: store)
    with served(app) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def ask(client: Any, **body: Any) -> Any:
    response = client.post("/v1/recommendations", json={"user_id": "u1", **body})
    assert response.status_code == 200, response.text
    return response.json()
