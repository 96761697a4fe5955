"""Events over HTTP: kept once, counted at once, refused as a whole, and the features of requests that are kept."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from pipelines.contracts import EVENTS
from pipelines.data.schemas import LAKE_SCHEMAS
from tests.support.serving import wait_until
from tests.support.serving_app import SEEN, ask, ready

EVENT_COLUMNS = set(LAKE_SCHEMAS[EVENTS].names) - {"source_partition"}


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
    same = {"ignored": 0, "event_ids": ["e1"]}
    assert own.post("/v1/events", json=events).json() == {"accepted": 1, "duplicates": 0, **same}
    assert own.post("/v1/events", json=events).json() == {"accepted": 0, "duplicates": 1, **same}
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
