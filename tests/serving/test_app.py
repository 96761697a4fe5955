"""The HTTP surface, over real HTTP with a store and a registry in memory."""

import inspect
import re
import threading
from datetime import UTC, datetime

import pytest

from pipelines import errors
from serving.app import create_app
from tests.support.serving import FakeStore, served, wait_until
from tests.support.serving_app import ask
from tests.support.tiny_release import AS_OF, write_tiny_release


def test_recommendations_name_their_release_and_parts(own, parts):
    client = own
    answer = ask(client, count=5)
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert answer["items"][0]["title"] == f"Title {answer['items'][0]['item_id']}"
    assert answer["user_known"]
    assert answer["degraded"] == []
    assert datetime.fromisoformat(answer["request_time"]) == AS_OF
    expected = {"version": "1", "digest": parts[1].model.digest, "dataset": "tiny", "retrieval": "1", "ranking": "1"}
    assert answer["release"] == {**expected, "index": "brute_force"}
    assert not {"001", "002", "009"} & {item["item_id"] for item in ask(client, count=50)["items"]}


def test_every_stage_is_timed(own):
    response = own.post("/v1/recommendations", json={"user_id": "u1"})
    stages = [part.split(";")[0] for part in response.headers["server-timing"].split(", ")]
    assert stages == ["features", "encode", "retrieve", "rank", "rules", "respond"]
    text = own.get("/metrics").text
    assert 'tandem_stage_seconds_count{stage="rank"} 1.0' in text
    assert 'tandem_requests_total{route="/v1/recommendations",status="200"} 1.0' in text
    assert 'tandem_release_info{dataset="tiny"' in text


def test_an_unknown_user_is_answered(client):
    answer = ask(
        client, user_id="nobody knows", context={"device": "toaster", "timestamp": "2025-02-01T10:00:00+02:00"}
    )
    assert len(answer["items"]) == 10
    assert not answer["user_known"]
    assert datetime.fromisoformat(answer["request_time"]) == datetime(2025, 2, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"count": 0}, "count"),
        ({"count": 51}, "count is 51; expected at most 50"),
        ({"count": "many"}, "count"),
        ({"exclude": ["x"] * 1001}, "exclude"),
        ({"exclude": [""]}, "exclude.0"),
        ({"context": {"timestamp": "2025-01-01T00:00:00"}}, "context.timestamp"),
        ({"context": {"hour": 3}}, "context.hour"),
        ({"cuont": 3}, "cuont"),
    ],
)
def test_requests_out_of_bounds_are_refused_by_name(client, body, message):
    response = client.post("/v1/recommendations", json={"user_id": "u1", **body})
    assert response.status_code == 422
    assert response.json()["error"]["type"] == "RequestError"
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(client, content):
    response = client.post("/v1/recommendations", content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["type"]) == (422, "RequestError")


def test_a_body_too_large_is_refused_before_it_is_read(client):
    response = client.post("/v1/events", content=b"x" * 2_000_000)
    assert response.status_code == 413

    def chunks():
        for _ in range(20):
            yield b"x" * 100_000

    assert client.post("/v1/events", content=chunks()).status_code == 413


def test_an_unknown_path_has_the_same_error_shape_and_one_label(own):
    for path in ("/nowhere", "/else"):
        assert own.get(path).json()["error"]["type"] == "HTTPError"
    assert 'tandem_requests_total{route="unknown",status="404"} 2.0' in own.get("/metrics").text


def test_similar_items(client):
    answer = client.get("/v1/items/007/similar", params={"count": 5}).json()
    assert answer["item_known"]
    assert len(answer["items"]) == 5
    assert "007" not in {item["item_id"] for item in answer["items"]}
    assert {item["source"] for item in answer["items"]} == {"retrieval"}


@pytest.mark.parametrize("path", ["/v1/items/unknown/similar", "/v1/items/%F0%9F%98%80%20%2B/similar"])
def test_an_unknown_item_gets_popular_ones(client, path):
    answer = client.get(path, params={"count": 3}).json()
    assert not answer["item_known"]
    assert [item["item_id"] for item in answer["items"]] == ["000", "001", "002"]
    assert {item["source"] for item in answer["items"]} == {"popular"}


def test_a_store_that_is_down_is_said_in_the_answer(own, parts):
    parts[2].down = True
    answer = ask(own)
    assert answer["degraded"] == ["user_features"]
    assert len(answer["items"]) == 10
    assert "user_features" in own.get("/readyz").json()["degraded"]
    assert 'tandem_degraded_total{part="user_features"} 1.0' in own.get("/metrics").text
    parts[2].down = False
    assert ask(own)["degraded"] == []


def test_a_registry_that_is_down_is_said_and_serving_goes_on(own, parts):
    parts[1].error = errors.RegistryError("mlflow is away")
    wait_until(lambda: own.get("/v1/release").json()["degraded"])
    state = own.get("/v1/release").json()
    assert state["version"] == "1"
    assert state["degraded"] == {"registry": "mlflow is away"}
    assert own.get("/readyz").status_code == 200
    assert ask(own)["degraded"] == [], "the answer itself used nothing that is down"


def test_each_release_reads_the_feature_service_it_names(parts, tmp_path):
    """A newer service is rolled out with the release that names it; the older release was served from its own."""
    settings, source, store = parts
    opened = []
    newer = write_tiny_release(tmp_path / "newer", version="2", user_service="serving_user_v2")
    with served(create_app(settings, source=source, open_store=lambda *a: opened.append(a[2]) or store)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        ask(client)
        source.point(source.put("2", newer))
        wait_until(lambda: client.get("/v1/release").json()["version"] == "2")
        ask(client)
    assert opened == ["serving_user_v1", "serving_user_v2"]


def test_release_tells_what_answers(client):
    state = client.get("/v1/release").json()
    assert (state["version"], state["num_items"], state["num_candidates"]) == ("1", 60, 20)
    assert state["sample_users"] == ["u1", "u2"]
    assert state["metrics"]["recommender"] == {"ndcg_at_10": 0.2}
    assert state["refused"] == {}


class TestBeforeAChampion:
    @pytest.fixture
    def client(self, parts):
        settings, source, store = parts
        source.point(None)
        with served(create_app(settings, source=source, open_store=lambda *_: store)) as client:
            wait_until(lambda: "promote" in client.get("/readyz").json().get("reason", ""))
            yield client

    def test_it_lives_and_says_why_it_is_not_ready(self, client):
        assert client.get("/healthz").json() == {"status": "ok"}
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "alias 'champion'" in ready.json()["reason"]
        assert client.get("/v1/release").json()["version"] is None

    def test_requests_say_what_is_missing(self, client):
        for response in (
            client.post("/v1/recommendations", json={"user_id": "u1"}),
            client.get("/v1/items/1/similar"),
            client.get("/v1/explanations", params={"user_id": "u1", "item_id": "1"}),
        ):
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "tandem promote-release" in response.json()["error"]["message"]

    def test_events_are_kept_all_the_same(self, client):
        events = {"events": [{"user_id": "u", "item_id": "i", "event_type": "view"}]}
        assert client.post("/v1/events", json=events).status_code == 202


def test_a_swap_in_the_middle_of_a_request_does_not_mix_releases(parts, tmp_path):
    settings, source, _ = parts
    second = source.put("2", write_tiny_release(tmp_path / "second", prefix="b"))
    entered, go_on = threading.Event(), threading.Event()

    class Slow(FakeStore):
        def online_user(self, user_id):
            if user_id == "slow":
                entered.set()
                go_on.wait(10)
            return {}

    answers = []
    with served(create_app(settings, source=source, open_store=lambda *_: Slow())) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        thread = threading.Thread(target=lambda: answers.append(ask(client, user_id="slow")))
        thread.start()
        entered.wait(10)
        source.point(second)
        wait_until(lambda: client.get("/v1/release").json()["version"] == "2")
        go_on.set()
        thread.join(10)
        after = ask(client, user_id="fast")
    assert answers[0]["release"]["version"] == "1"
    assert not [item for item in answers[0]["items"] if item["item_id"].startswith("b")]
    assert after["release"]["version"] == "2"
    assert all(item["item_id"].startswith("b") for item in after["items"])


@pytest.mark.parametrize(
    "kind", [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, errors.TandemError)]
)
def test_every_error_has_a_status_and_one_shape(client, monkeypatch, kind):
    def fail(*arguments):
        raise kind("what happened")

    monkeypatch.setattr("serving.routes._similar", fail)
    response = client.get("/v1/items/1/similar")
    assert response.status_code == kind.status_code
    assert 400 <= kind.status_code < 600
    assert response.json() == {"error": {"type": kind.__name__, "message": "what happened"}}


def test_a_bug_is_a_plain_500_and_keeps_the_connection(client, monkeypatch):
    monkeypatch.setattr("serving.routes._similar", lambda *_: 1 / 0)
    response = client.get("/v1/items/1/similar")
    assert response.status_code == 500
    assert "division" not in response.text
    assert response.json()["error"]["type"] == "InternalError"
    assert client.get("/healthz").status_code == 200


def test_the_api_page_describes_every_field(client):
    schema = client.get("/openapi.json").json()
    assert {"/v1/recommendations", "/v1/items/{item_id}/similar", "/v1/events", "/v1/explanations"} <= schema[
        "paths"
    ].keys()
    for operations in schema["paths"].values():
        for operation in operations.values():
            assert operation["summary"]


def test_the_api_page_needs_no_internet(client):
    page = client.get("/docs")
    assert page.status_code == 200
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(part.endswith(".js") for part in parts)
    assert any(part.endswith(".css") for part in parts)
    for part in parts:
        assert part.startswith("/"), f"{part} is of another host"
        assert client.get(part).status_code == 200
