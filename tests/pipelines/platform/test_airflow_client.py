"""Talking to Airflow: log in, trigger, follow, and say why a run failed."""

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.errors import ConfigError, PlatformError
from pipelines.platform import following
from pipelines.platform.airflow_client import AirflowClient
from pipelines.platform.following import follow, wait_for_dag
from tests.support.airflow_server import AirflowStandIn, airflow_stand_in

RUNS = "/api/v2/dags/pipeline/dagRuns"
RUN = f"{RUNS}/run-1"


@pytest.fixture
def server() -> Iterator[AirflowStandIn]:
    with airflow_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def airflow(server: AirflowStandIn) -> AirflowClient:
    return AirflowClient(server.url, "admin", "password")


def task(name: str, state: str | None, start: str | None = None, end: str | None = None) -> dict[str, Any]:
    return {"task_id": name, "state": state, "start_date": start, "end_date": end, "try_number": 2}


def test_logs_in_once_and_sends_the_token(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers["GET /api/v2/dags"] = (200, {"dags": []})
    airflow.dags()
    airflow.dags()
    assert [key for key, _, _ in server.asked] == ["POST /auth/token", "GET /api/v2/dags", "GET /api/v2/dags"]
    assert server.asked[0][1] == {"username": "admin", "password": "password"}
    assert server.asked[1][2] == "Bearer secret-token"


def test_trigger_hands_over_parameters(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers[f"POST {RUNS}"] = (200, {"dag_run_id": "run-1"})
    assert airflow.trigger("pipeline", {"seed": 3}) == "run-1"
    body = server.asked[-1][1]
    assert body["conf"] == {"seed": 3}
    assert body["logical_date"] is None


def test_a_refused_parameter_is_the_callers_fault(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers[f"POST {RUNS}"] = (400, {"detail": "seed: 'x' is not of type 'integer'"})
    with pytest.raises(ConfigError, match="seed"):
        airflow.trigger("pipeline", {"seed": "x"})


def test_no_server_says_what_to_run(free_port: Any) -> None:
    with pytest.raises(PlatformError, match="tandem up"):
        AirflowClient(f"http://127.0.0.1:{free_port()}", "admin", "password").dags()


def test_a_broken_dag_file_is_named(server: AirflowStandIn, airflow: AirflowClient) -> None:
    broken = {"filename": "train_models.py", "stack_trace": "Traceback\n  ...\nNameError: name 'x' is not defined"}
    server.answers["GET /api/v2/importErrors"] = (200, {"import_errors": [broken]})
    with pytest.raises(PlatformError, match=r"train_models\.py.*NameError"):
        wait_for_dag(airflow, "pipeline")


def test_waits_until_the_dag_is_read(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers["GET /api/v2/importErrors"] = (200, {"import_errors": []})
    server.answers["GET /api/v2/dags"] = [(200, {"dags": []}), (200, {"dags": [{"dag_id": "pipeline"}]})]
    wait_for_dag(airflow, "pipeline")
    assert sum(key == "GET /api/v2/dags" for key, _, _ in server.asked) == 2


def test_gives_up_on_a_dag_that_is_never_read(
    server: AirflowStandIn, airflow: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PARSE_SECONDS", 0.0)
    server.answers["GET /api/v2/importErrors"] = (200, {"import_errors": []})
    server.answers["GET /api/v2/dags"] = (200, {"dags": []})
    with pytest.raises(PlatformError, match="dag-processor"):
        wait_for_dag(airflow, "pipeline")


def test_follows_to_the_end(server: AirflowStandIn, airflow: AirflowClient) -> None:
    done = task("a", "success", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02.5Z")
    server.answers[f"GET {RUN}"] = [(200, {"state": "running"}), (200, {"state": "success"})]
    server.answers[f"GET {RUN}/taskInstances"] = [
        (200, {"task_instances": [task("b", None), task("a", "running", "2026-01-01T00:00:00Z")]}),
        (200, {"task_instances": [done]}),
    ]
    seen = []
    tasks = follow(airflow, "pipeline", "run-1", lambda state, tasks: seen.append((state, [t.name for t in tasks])))
    assert seen == [("running", ["a", "b"]), ("success", ["a"])]
    assert [(t.name, t.seconds) for t in tasks] == [("a", 2.5)]


def test_a_failed_task_is_explained_with_error_page_and_log(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers[f"GET {RUN}"] = (200, {"state": "failed"})
    failed = task("validate_partition", "failed", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
    server.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": [failed, task("append", "upstream_failed")]})
    detail = {"exc_type": "DataContractError", "exc_value": "partition 'all' is refused. Report: /x/index.html"}
    log = [{"event": "started"}, {"event": "Task failed", "error_detail": [detail]}, {"event": "::endgroup::"}]
    server.answers[f"GET {RUN}/taskInstances/validate_partition/logs/2"] = (200, {"content": log})
    with pytest.raises(PlatformError) as caught:
        follow(airflow, "pipeline", "run-1", lambda *_: None)
    message = str(caught.value)
    assert "validate_partition failed: DataContractError: partition 'all' is refused. Report: /x/index.html" in message
    assert f"{server.url}/dags/pipeline/runs/run-1/tasks/validate_partition" in message
    assert "task_id=validate_partition/attempt=2.log" in message


def test_a_short_absence_of_the_server_is_waited_out(server: AirflowStandIn, airflow: AirflowClient) -> None:
    server.answers[f"GET {RUN}"] = [(503, {"detail": "busy"}), (200, {"state": "success"})]
    server.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": []})
    assert follow(airflow, "pipeline", "run-1", lambda *_: None) == []


def test_a_long_absence_ends_it(
    server: AirflowStandIn, airflow: AirflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "UNANSWERED_SECONDS", 0.0)
    server.answers[f"GET {RUN}"] = (503, {"detail": "busy"})
    with pytest.raises(PlatformError, match="503"):
        follow(airflow, "pipeline", "run-1", lambda *_: None)
