"""The champion changes under load: no request fails, and every answer comes from one release."""

import http.client
import json
import threading
from collections import Counter
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.stores.base import RunRecord
from tests.support.mlflow_server import mlflow_server
from tests.support.serving import SERVING_PYTHON, serving_process, wait_until
from tests.support.tiny_release import write_tiny_release

NUM_REQUESTS = 5_000
NUM_CLIENTS = 6
MIN_SWAPS = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SERVING_PYTHON.exists(), reason=".venv-serving is not set up: run `make setup`"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """MLflow with two releases whose item ids begin with `a` and `b`."""
    from pipelines.stores.registry import MlflowRegistry

    folder = tmp_path_factory.mktemp("platform")
    with mlflow_server(folder / "mlflow") as uri:
        registry = MlflowRegistry(uri, folder / "cache")
        versions = {}
        for prefix in "ab":
            size = {"num_items": 300, "num_candidates": 100}
            release = write_tiny_release(folder / prefix, prefix=prefix, version=prefix, **size)
            record = RunRecord(name=prefix, metrics={"ndcg_at_10": 0.2})
            versions[prefix] = registry.register(RECOMMENDER, release, key=prefix, dataset="tiny", record=record)
        yield uri, registry, versions


class Client(threading.Thread):
    """Sends requests over one connection and keeps what came back."""

    def __init__(self, url, number, num_requests, errors):
        super().__init__(daemon=True)
        self.address, self.number, self.num_requests = urlsplit(url).netloc, number, num_requests
        self.answers, self.errors = [], errors

    def run(self):
        with closing(http.client.HTTPConnection(self.address, timeout=30)) as connection:
            for i in range(self.num_requests):
                try:
                    self.ask(connection, i)
                except Exception as error:
                    self.errors.append(repr(error))

    def ask(self, connection, i):
        if i % 10 == 9:
            connection.request("GET", f"/v1/items/{'ab'[i % 2]}007/similar")
        else:
            body = json.dumps({"user_id": f"u{self.number}-{i}", "count": 10, "exclude": ["a001", "b001"]})
            connection.request("POST", "/v1/recommendations", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status == 200:
            self.answers.append((answer["release"], [item["item_id"] for item in answer["items"]]))
        else:
            self.errors.append(f"{response.status} {answer}")


def test_no_request_fails_and_none_mixes_releases(platform, tmp_path):
    uri, registry, versions = platform
    registry.set_alias(RECOMMENDER, CHAMPION, versions["a"].version)
    errors = []
    with serving_process(tmp_path, python=SERVING_PYTHON, mlflow_uri=uri, poll_seconds=0.1) as (client, _):
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=60)
        clients = [Client(str(client.base_url), n, NUM_REQUESTS // NUM_CLIENTS + 1, errors) for n in range(NUM_CLIENTS)]
        for each in clients:
            each.start()
        swaps = 0
        while any(each.is_alive() for each in clients):
            swaps += 1
            champion = versions["ba"[swaps % 2]].version
            registry.set_alias(RECOMMENDER, CHAMPION, champion)
            wait_until(lambda wanted=champion: client.get("/v1/release").json()["version"] == wanted, seconds=30)
        for each in clients:
            each.join(60)
    answers = [answer for each in clients for answer in each.answers]
    assert errors == []
    assert len(answers) >= NUM_REQUESTS
    assert swaps >= MIN_SWAPS
    served = Counter(release["version"] for release, _ in answers)
    assert served.keys() == {versions["a"].version, versions["b"].version}
    for prefix, model in versions.items():
        for release, items in answers:
            if release["version"] == model.version:
                assert release["digest"] == model.digest
                assert (release["retrieval"], release["ranking"]) == (prefix, prefix)
                assert len(items) == 10
                assert {item[0] for item in items} == {prefix}


def test_a_restart_while_mlflow_is_down_serves_the_last_release(platform, tmp_path):
    uri, registry, versions = platform
    registry.set_alias(RECOMMENDER, CHAMPION, versions["b"].version)
    with serving_process(tmp_path, python=SERVING_PYTHON, mlflow_uri=uri) as (client, process):
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=60)
        process.kill()
    with serving_process(tmp_path, python=SERVING_PYTHON) as (client, _):
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=60)
        state = client.get("/v1/release").json()
        answer = client.post("/v1/recommendations", json={"user_id": "u1"}).json()
    assert (state["version"], list(state["degraded"])[:1]) == (versions["b"].version, ["registry"])
    assert all(item["item_id"].startswith("b") for item in answer["items"])


def test_a_release_whose_bytes_changed_in_the_registry_is_refused(platform, tmp_path):
    uri, registry, versions = platform
    folder = write_tiny_release(tmp_path / "c", prefix="c", version="c")
    damaged = registry.register(RECOMMENDER, folder, key="c", dataset="tiny", record=RunRecord(name="c"))
    artifacts = registry._cache.parent / "mlflow" / "artifacts"
    registered = (folder / "items.parquet").read_bytes()
    (stored,) = (path for path in artifacts.rglob("items.parquet") if path.read_bytes() == registered)
    stored.write_bytes(stored.read_bytes() + b"x")
    registry.set_alias(RECOMMENDER, CHAMPION, versions["a"].version)
    with serving_process(tmp_path, python=SERVING_PYTHON, mlflow_uri=uri) as (client, _):
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=60)
        registry.set_alias(RECOMMENDER, CHAMPION, damaged.version)
        wait_until(lambda: client.get("/v1/release").json()["refused"], seconds=30)
        state = client.get("/v1/release").json()
        metrics = client.get("/metrics").text
    assert state["version"] == versions["a"].version
    assert "IntegrityError" in state["refused"][damaged.version]
    assert 'tandem_releases_refused_total{error="IntegrityError"} 1.0' in metrics
    assert "IntegrityError" in (tmp_path / "serving.log").read_text()
