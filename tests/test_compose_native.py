"""The services profile at work: every command of docker-compose.yml is started, and a pipeline runs through them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipelines.platform.airflow_client import AirflowClient
from pipelines.platform.following import PIPELINE, follow, wait_for_dag
from pipelines.stores.serving_client import ServingClient
from tests.support.compose import (
    REPOSITORY,
    NativeStack,
    database_user,
    filled_env,
    free_port,
    missing_for_native_run,
    psql,
    raw_compose,
)

SMALL = {
    "source.synthetic.num_events": 6000,
    "source.synthetic.num_users": 150,
    "source.synthetic.num_items": 100,
    "source.synthetic.num_days": 20,
    "retrieval.epochs": 1,
    "ranking.epochs": 1,
    "ranking.num_queries": 200,
    "promotion.min_lift_over_popularity": -1.0,
}


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return filled_env()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[NativeStack]:
    """The whole profile with real PostgreSQL, Redis and S3, prepared by its own init job."""
    programs = Path(sys.executable).parent
    if reason := missing_for_native_run(programs):
        pytest.skip(f"services are not started natively: {reason}")
    serving = REPOSITORY / ".venv-serving" / "bin"
    suffix = f"_{os.getpid()}"
    environments = {"default": programs, **({"serving": serving} if serving.exists() else {})}
    stack = NativeStack(tmp_path_factory.mktemp("services"), variables, suffix, environments)
    try:
        _prepare(stack)
        yield stack
    finally:
        stack.stop()
        for name in ("airflow", "mlflow", "feast", "search"):
            psql(f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)')
            psql(f'DROP ROLE IF EXISTS "{name}{suffix}"')
        shutil.rmtree(stack.scratch, ignore_errors=True)


def _prepare(stack: NativeStack) -> None:
    names = stack.services["postgres"]["environment"]["TANDEM_DATABASES"].split()
    databases = " ".join(entry.replace(":", f"{stack.suffix}:") for entry in names)
    environment = {**os.environ, "PGHOST": "127.0.0.1", "POSTGRES_USER": database_user(), "TANDEM_DATABASES": databases}
    for _ in range(2):  # The second run shows that it may be repeated.
        subprocess.run(["sh", str(REPOSITORY / "docker" / "create_databases.sh")], env=environment, check=True)
    stack.start("redis")
    weed_ports = [
        f"-{part}={free_port()}"
        for part in (
            "master.port",
            "volume.port",
            "filer.port",
            "master.port.grpc",
            "volume.port.grpc",
            "filer.port.grpc",
            "s3.port.grpc",
        )
    ]
    stack.start("s3", *weed_ports)
    for name in ("redis", "s3"):
        assert stack.healthy(name, 60), stack.tail(name)
    for _ in range(2):
        stack.start("init")
        assert stack.finish("init", 300) == 0, stack.tail("init")


IN_THE_LAKE = """
import json, os
from pipelines.entrypoints.adapters import open_lake
from pipelines.settings import load_config

lake = open_lake(load_config())
rows = lake.read("events", version=lake.version("events"), columns=["event_id", "user_id"]).to_pylist()
print(json.dumps([row["user_id"] for row in rows if row["event_id"] == "native-1"]), flush=True)
os._exit(0)  # Arrow's threads, which read the object store, may outlive the interpreter's end and abort it
"""


SEARCHES = """
from pipelines.search.storage import open_storage
from pipelines.settings import load_config

config = load_config()
storage = open_storage(config.services.search_storage, config.home / "search")
print(storage.engine.url.get_backend_name(), len(storage.get_all_studies()), flush=True)
"""


def drained(stack: NativeStack) -> list[str]:
    """Users of the rows that the posted event became in the lake, as a worker reads it."""
    printed = stack.exec("airflow-worker", "python", "-c", IN_THE_LAKE)
    return list(json.loads(printed.splitlines()[-1]))


@pytest.mark.platform
@pytest.mark.slow
class TestNative:
    """Every command starts with nothing but the environment that the file gives it, and its health check passes."""

    def test_health_check_fails_before_start(self, stack: NativeStack) -> None:
        assert stack.check("mlflow") != 0

    @pytest.mark.parametrize(
        "name",
        [
            "mlflow",
            "airflow-api-server",
            "airflow-scheduler",
            "airflow-dag-processor",
            "airflow-triggerer",
            "airflow-worker",
            "serving",
        ],
    )
    def test_starts_and_becomes_healthy(self, stack: NativeStack, name: str) -> None:
        stack.start(name)
        assert stack.healthy(name, 180), stack.tail(name)

    @pytest.mark.timeout(1200)
    def test_pipeline_runs_through_the_worker_to_a_served_answer(
        self, stack: NativeStack, variables: dict[str, str]
    ) -> None:
        """Celery, the lake in S3, Feast in PostgreSQL and Redis, MLflow with artifacts in S3, and serving, together."""
        airflow = AirflowClient(f"http://127.0.0.1:{stack.ports['8080']}", "admin", variables["AIRFLOW_ADMIN_PASSWORD"])
        wait_for_dag(airflow, PIPELINE)
        stack.exec("airflow-api-server", "airflow", "dags", "unpause", PIPELINE)
        run = airflow.trigger(PIPELINE, {"settings": SMALL})
        follow(airflow, PIPELINE, run, lambda state, tasks: None)
        serving = ServingClient(f"http://127.0.0.1:{stack.ports['8000']}")
        release = serving.release()
        answer = serving.recommend(release["sample_users"][0], count=5)
        assert len(answer["items"]) == 5
        assert answer["user_known"] is True
        assert answer["degraded"] == []
        assert answer["release"]["version"] == release["version"] == "1"
        volumes = {path.name for path in (stack.scratch / "volumes" / "home").iterdir()}
        assert "lake" not in volumes, "the lake belongs into the object store"

    @pytest.mark.timeout(600)
    def test_an_event_changes_answers_at_once_and_gets_into_the_lake_through_redis(
        self, stack: NativeStack, variables: dict[str, str]
    ) -> None:
        """Posted to serving, acknowledged by Redis, drained by a Celery worker into the lake in S3, exactly once."""
        serving = ServingClient(f"http://127.0.0.1:{stack.ports['8000']}")
        before = serving.recommend("newcomer", count=3)
        item = before["items"][0]["item_id"]
        event = {"event_id": "native-1", "user_id": "newcomer", "item_id": item, "event_type": "rating", "value": 4.0}
        first, again = (serving._ask("/v1/events", {"events": [event]}) for _ in range(2))
        assert (first["accepted"], again["accepted"], again["duplicates"]) == (1, 0, 1)
        after = serving.recommend("newcomer", count=3)
        assert (before["user_known"], after["user_known"]) == (False, True)
        assert item not in {shown["item_id"] for shown in after["items"]}, "what a user has seen is not shown again"
        users = ["newcomer", *serving.release()["sample_users"][:2]]
        for number in range(60):  # of every tenth the features are kept, which the next test compares
            serving.recommend(users[number % 3], count=3)
        place = {"port": stack.ports["6379"], "password": variables["REDIS_PASSWORD"], "db": 2}
        with redis.Redis(**place) as streams:
            assert streams.xlen("tandem:events:synthetic") == 1
        assert drained(stack) == []
        airflow = AirflowClient(f"http://127.0.0.1:{stack.ports['8080']}", "admin", variables["AIRFLOW_ADMIN_PASSWORD"])
        stack.exec("airflow-api-server", "airflow", "dags", "unpause", "drain_events")
        for _ in range(2):  # the second finds nothing that waits
            follow(airflow, "drain_events", airflow.trigger("drain_events", {}), lambda state, tasks: None)
            assert drained(stack) == ["newcomer"]
        assert serving.recommend("newcomer", count=3)["user_known"] is True

    @pytest.mark.timeout(600)
    def test_features_that_were_served_are_those_computed_offline(
        self, stack: NativeStack, variables: dict[str, str]
    ) -> None:
        """Kept in Redis by serving, computed again by a worker; the newcomer's are of an event not in the lake then."""
        airflow = AirflowClient(f"http://127.0.0.1:{stack.ports['8080']}", "admin", variables["AIRFLOW_ADMIN_PASSWORD"])
        airflow._ask("PATCH", "dags/check_parity", {"is_paused": False})
        conf = {"dataset": "synthetic", "settings": {"parity.min_requests": 1}}
        run = airflow.trigger("check_parity", conf)
        follow(airflow, "check_parity", run, lambda state, tasks: None)
        report = airflow.result("check_parity", run, "check_parity")
        assert report is not None
        assert report["num_compared"] >= 6
        assert {feature["name"]: feature["example"] for feature in report["features"] if feature["num_different"]} == {}
        assert len(report["features"]) > 20

    @pytest.mark.timeout(600)
    def test_a_user_is_forgotten_by_the_worker(self, stack: NativeStack, variables: dict[str, str]) -> None:
        """From the lake in S3, from features and served events in Redis, and from what serving knows."""
        serving = ServingClient(f"http://127.0.0.1:{stack.ports['8000']}")
        user, other = serving.release()["sample_users"][:2]
        item = serving.recommend(user, count=1)["items"][0]["item_id"]
        serving._ask("/v1/events", {"events": [{"user_id": user, "item_id": item, "event_type": "rating"}]})
        airflow = AirflowClient(f"http://127.0.0.1:{stack.ports['8080']}", "admin", variables["AIRFLOW_ADMIN_PASSWORD"])
        airflow._ask("PATCH", "dags/forget_user", {"is_paused": False})
        logged = stack.scratch / "volumes" / "logs" / "task.log"
        logged.write_text(f"user {user} and user {other}")
        run = airflow.trigger("forget_user", {"dataset": "synthetic", "user_id": user})
        follow(airflow, "forget_user", run, lambda state, tasks: None)
        report = airflow.result("forget_user", run, "forget_user")
        assert report is not None
        removed = {removed["place"] for removed in report["removed"]}
        assert {"lake table events", "online features", "served events", "features of requests"} <= removed
        # Ends with 0: the user is on the list and in no place.
        printed = stack.exec("airflow-worker", "python", "-m", "pipelines", "find-user", user, "--json")
        assert json.loads(printed)["found"] == []
        assert logged.read_text() == f"user {'-' * len(user)} and user {other}"
        assert serving.recommend(user, count=3)["user_known"] is False
        assert serving.recommend(other, count=3)["user_known"] is True

    def test_searches_are_kept_in_the_database(self, stack: NativeStack) -> None:
        printed = stack.exec("airflow-worker", "python", "-c", SEARCHES)
        assert printed.splitlines()[-1] == "postgresql 0"

    def test_nothing_died_meanwhile(self, stack: NativeStack) -> None:
        dead = [name for name, process in stack.processes.items() if name != "init" and process.poll() is not None]
        assert dead == [], "\n".join(stack.tail(name) for name in dead)

    def test_postgres_health_check_is_the_images_own_tool(self) -> None:
        assert raw_compose()["services"]["postgres"]["healthcheck"]["test"][1] == "pg_isready"
