"""The HTTP surface, over real HTTP with a store and a registry in memory."""

import inspect
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from pipelines import errors
from pipelines.config import RulesConfig
from pipelines.contracts import EVENTS
from pipelines.data.schemas import LAKE_SCHEMAS
from serving.app import create_app
from serving.settings import Settings
from tests.support.serving import FakeSource, FakeStore, served, wait_until
from tests.support.tiny_release import AS_OF, write_tiny_release

SEEN = ["001", "002"]
USERS = {"u1": {"user_num_events": 3, "recent_items": SEEN, "seen_items": SEEN, "last_known_at": AS_OF}}
EVENT_COLUMNS = set(LAKE_SCHEMAS[EVENTS].names) - {"source_partition"}


def make_parts(folder):
    source, store = FakeSource(), FakeStore(USERS)
    release = write_tiny_release(folder / "release", rules=RulesConfig(blocked_items=("009",)))
    source.point(source.put("1", release))
    settings = Settings(home=folder / "home", poll_seconds=0.05, store_retry_seconds=0, max_count=50, max_events=3)
    return settings, source, store


@contextmanager
def ready(parts):
    settings, source, store = parts
    app = create_app(settings, source=source, open_store=lambda settings, dataset, service: store)
    with served(app) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A server that all tests share which leave no trace."""
    with ready(make_parts(tmp_path_factory.mktemp("shared"))) as client:
        yield client


@pytest.fixture
def parts(tmp_path):
    return make_parts(tmp_path)


@pytest.fixture
def own(parts):
    """A server of the test's own."""
    with ready(parts) as client:
        yield client


def ask(client, **body):
    response = client.post("/v1/recommendations", json={"user_id": "u1", **body})
    assert response.status_code == 200, response.text
    return response.json()


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


def test_an_event_counts_for_the_next_request(own, parts):
    first = ask(own, user_id="fresh")["items"][0]["item_id"]
    response = own.post("/v1/events", json={"events": [{"user_id": "fresh", "item_id": first, "event_type": "view"}]})
    assert response.status_code == 202
    assert response.json()["accepted"] == 1
    answer = ask(own, user_id="fresh", count=50)
    assert answer["user_known"]
    assert first not in {item["item_id"] for item in answer["items"]}
    (file,) = (parts[0].home / "serving" / "events").glob("*/*.jsonl")
    (record,) = map(orjson.loads, file.read_bytes().splitlines())
    assert record["event_id"] == response.json()["event_ids"][0]
    assert record["event_timestamp"] == record["ingested_at"]
    assert record.keys() == EVENT_COLUMNS


def test_events_sent_twice_are_kept_once(own):
    events = {"events": [{"event_id": "e1", "user_id": "u", "item_id": "003", "event_type": "view", "value": 1.5}]}
    assert own.post("/v1/events", json=events).json() == {"accepted": 1, "duplicates": 0, "event_ids": ["e1"]}
    assert own.post("/v1/events", json=events).json() == {"accepted": 0, "duplicates": 1, "event_ids": ["e1"]}
    why = own.get("/v1/explanations", params={"user_id": "u", "item_id": "003"}).json()
    assert why["features"]["user"]["user_num_events"] == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"item_id": None}, "item_id"),
        ({"event_type": ""}, "event_type"),
        ({"event_timestamp": "2999-01-01T00:00:00Z"}, "check the sender's clock"),
        ({"event_timestamp": "1969-01-01T00:00:00Z"}, "1970"),
        ({"event_timestamp": "2025-01-01T00:00:00"}, "event_timestamp"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_event_refuses_the_whole_batch(own, parts, event, message):
    good = {"user_id": "u", "item_id": "003", "event_type": "view"}
    response = own.post("/v1/events", json={"events": [good, {**good, **event}]})
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]
    assert not (parts[0].home / "serving" / "events").exists()


def test_an_event_value_must_be_a_number(client):
    content = b'{"events": [{"user_id": "u", "item_id": "i", "event_type": "view", "value": NaN}]}'
    response = client.post("/v1/events", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_too_many_events_are_refused(client):
    events = [{"user_id": "u", "item_id": "003", "event_type": "view"}] * 4
    response = client.post("/v1/events", json={"events": events})
    assert (response.status_code, response.json()["error"]["type"]) == (422, "RequestError")
    assert "at most 3" in response.json()["error"]["message"]
    assert client.post("/v1/events", json={"events": []}).status_code == 422


def test_recent_events_survive_a_restart(parts):
    with ready(parts) as client:
        client.post("/v1/events", json={"events": [{"user_id": "fresh", "item_id": "003", "event_type": "view"}]})
    with ready(parts) as client:
        answer = ask(client, user_id="fresh", count=50)
    assert answer["user_known"]
    assert "003" not in {item["item_id"] for item in answer["items"]}


def test_an_event_posted_to_one_process_counts_in_another(parts):
    with ready(parts) as one, ready(parts) as other:
        assert not ask(other, user_id="fresh")["user_known"]
        one.post("/v1/events", json={"events": [{"user_id": "fresh", "item_id": "003", "event_type": "view"}]})
        wait_until(lambda: ask(other, user_id="fresh")["user_known"])
        again = {"events": [{"event_id": "e9", "user_id": "fresh", "item_id": "004", "event_type": "view"}]}
        assert one.post("/v1/events", json=again).json()["accepted"] == 1
        wait_until(lambda: other.post("/v1/events", json=again).json()["duplicates"] == 1)
        why = other.get("/v1/explanations", params={"user_id": "fresh", "item_id": "003"}).json()
        assert why["features"]["user"]["user_num_events"] == 2
        assert "tandem_event_lag_seconds" in other.get("/metrics").text


def test_an_event_from_a_clock_that_is_ahead_happened_when_it_arrived(own, parts):
    ahead = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    event = {"user_id": "u", "item_id": "003", "event_type": "view", "event_timestamp": ahead}
    assert own.post("/v1/events", json={"events": [event]}).status_code == 202
    (file,) = (parts[0].home / "serving" / "events").glob("*/*.jsonl")
    record = orjson.loads(file.read_bytes())
    assert record["event_timestamp"] == record["ingested_at"] < ahead


def test_the_features_of_sampled_requests_are_kept(parts):
    settings, source, store = parts
    with ready((settings.model_copy(update={"feature_log_share": 0.5}), source, store)) as client:
        answers = [ask(client) for _ in range(4)]
    files = (settings.home / "serving" / "requests" / "tiny").glob("*.jsonl")
    records = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert len(records) == 2
    assert records[0]["features"]["recent_items"] == SEEN
    assert records[0]["features"]["user_num_events"] == 3
    asked_for = [datetime.fromisoformat(record["request_timestamp"]) for record in records]
    assert asked_for == [datetime.fromisoformat(answer["request_time"]) for answer in answers[:2]]
    assert records[0]["release"] == "1"
    assert records[0]["read_at"] < records[1]["read_at"]


def test_an_explanation_shows_what_each_stage_saw(client):
    best = ask(client)["items"][0]
    why = client.get("/v1/explanations", params={"user_id": "u1", "item_id": best["item_id"]}).json()
    assert (why["recommended"], why["position"], why["reasons"]) == (True, 1, [])
    assert why["probability"] == pytest.approx(best["score"])
    assert why["retrieval_score"] == pytest.approx(best["retrieval_score"])
    assert 1 <= why["retrieval_rank"] <= 20
    assert why["features"]["user"]["recent_items"] == ["001", "002"]
    assert why["features"]["item"]["title"] == best["title"]
    assert "taste_match" in why["features"]["pair"]
    similarity = [near["similarity"] for near in why["history"]]
    assert {near["item_id"] for near in why["history"]} == {"001", "002"}
    assert similarity == sorted(similarity, reverse=True)


@pytest.mark.parametrize(
    ("item", "reason"),
    [("001", "seen it (online store)"), ("009", "blocked_items"), ("unknown", "not in the release")],
)
def test_an_explanation_says_what_excluded_an_item(client, item, reason):
    why = client.get("/v1/explanations", params={"user_id": "u1", "item_id": item}).json()
    assert not why["recommended"]
    assert reason in "; ".join(why["reasons"])


def test_an_explanation_of_a_low_rank_gives_the_figure(client):
    shown = {item["item_id"] for item in ask(client, count=10)["items"]}
    others = [f"{row:03}" for row in range(60) if f"{row:03}" not in {*shown, "001", "002", "009"}]
    reasons = [
        client.get("/v1/explanations", params={"user_id": "u1", "item_id": item}).json()["reasons"][0]
        for item in others
    ]
    assert any("only about 20 candidates" in reason for reason in reasons)
    assert any("have a higher probability" in reason for reason in reasons)


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
    assert client.get("/docs").status_code == 200
