"""Follow one DAG run to its end."""

import time
from collections.abc import Callable, Sequence

from pipelines.config import Config
from pipelines.errors import PlatformError
from pipelines.platform import secrets
from pipelines.platform.airflow_client import AirflowClient, TaskState

PIPELINE = "recommender_pipeline"
PARSE_SECONDS = 60.0
UNANSWERED_SECONDS = 60.0

Watcher = Callable[[str, Sequence[TaskState]], None]


def client(config: Config) -> AirflowClient:
    """Return a client of this home's Airflow."""
    password = secrets.password(config.home / "airflow")
    return AirflowClient(f"http://127.0.0.1:{config.ports.airflow}", secrets.USER, password)


def wait_for_dag(airflow: AirflowClient, dag_id: str) -> None:
    """Return when Airflow has read the DAG.

    Raises:
        PlatformError: a DAG file is broken, or Airflow did not read it in time.
    """
    deadline = time.monotonic() + PARSE_SECONDS
    while not airflow.has_dag(dag_id):
        if time.monotonic() > deadline:
            raise PlatformError(
                f"Airflow did not read DAG {dag_id} within {PARSE_SECONDS:.0f} s; see airflow-dag-processor.log in the "
                "logs folder, then: make stop run"
            )
        time.sleep(0.3)


def follow(airflow: AirflowClient, dag_id: str, run_id: str, watch: Watcher) -> list[TaskState]:
    """Watch a run until it ended well; returns its tasks.

    Raises:
        PlatformError: a task failed (the message has its error, log and page), or Airflow stopped answering.
    """
    answered = time.monotonic()
    while True:
        try:
            # Asked before the tasks: when it says the run is over, the tasks' states are final.
            state = airflow.run_state(dag_id, run_id)
            tasks = airflow.tasks(dag_id, run_id)
            answered = time.monotonic()
        except PlatformError:
            if time.monotonic() - answered > UNANSWERED_SECONDS:
                raise
            time.sleep(1)
            continue
        watch(state, tasks)
        if state == "success":
            return tasks
        if state == "failed":
            raise PlatformError(_explain(airflow, dag_id, run_id, tasks))
        time.sleep(1)


def _explain(airflow: AirflowClient, dag_id: str, run_id: str, tasks: Sequence[TaskState]) -> str:
    failed = [task for task in tasks if task.state == "failed"]
    if not failed:
        return f"run {run_id} of {dag_id} failed before a task did; see {airflow.run_url(dag_id, run_id)}"
    task = failed[0]
    return (
        f"task {task.name} failed: {airflow.failure(dag_id, run_id, task)} -- Page: "
        f"{airflow.run_url(dag_id, run_id, task.name)} -- Log: airflow/logs/dag_id={dag_id}/run_id={run_id}/"
        f"task_id={task.name}/attempt={task.try_number}.log below the home"
    )
