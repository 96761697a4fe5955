"""Airflow's REST API, as far as the command line needs it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import ConfigError, PlatformError

Json = dict[str, Any]
ACTIVE = ("queued", "running", "deferred", "restarting", "scheduled", "up_for_retry", "up_for_reschedule")


@dataclass(frozen=True)
class TaskState:
    """One task of one run.

    Attributes:
        name: task id.
        state: Airflow's word for it; None before it is scheduled.
        seconds: how long it has run, or ran.
        try_number: 1 for the first try.
    """

    name: str
    state: str | None
    seconds: float
    try_number: int


class AirflowClient:
    """Talks to one API server as one user. Proxies of the environment are not used: it is a neighbour.

    Args:
        url: such as `http://127.0.0.1:8080`.
        user: who logs in.
        password: their password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        self._token: str | None = None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG was read by the DAG processor.

        Raises:
            PlatformError: some DAG file cannot be imported.
        """
        errors = self._ask("GET", "importErrors")["import_errors"]
        if errors:
            last = errors[0]["stack_trace"].strip().splitlines()[-1]
            raise PlatformError(
                f"DAG file {errors[0]['filename']} cannot be imported: {last}. Correct it; see `make test`"
            )
        return any(dag["dag_id"] == dag_id for dag in self.dags())

    def dags(self) -> list[Json]:
        """Return every DAG."""
        return list(self._ask("GET", "dags?limit=100")["dags"])

    def latest_run(self, dag_id: str) -> Json | None:
        """Return the newest run of a DAG."""
        found = self._ask("GET", f"dags/{dag_id}/dagRuns?order_by=-run_after&limit=1")["dag_runs"]
        return dict(found[0]) if found else None

    def trigger(self, dag_id: str, conf: Json) -> str:
        """Start a run with parameters; returns its id.

        Raises:
            ConfigError: Airflow refused a parameter.
        """
        run_id = f"run-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"  # readable in addresses and log paths, unlike the default
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        return str(self._ask("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self._ask("GET", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the tasks of a run, in the order in which they started."""
        found = self._ask("GET", f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances?limit=100")["task_instances"]
        found.sort(key=lambda task: (task["start_date"] is None, task["start_date"] or ""))
        return [TaskState(t["task_id"], t["state"], _seconds(t), t["try_number"]) for t in found]

    def result(self, dag_id: str, run_id: str, task_id: str) -> Json | None:
        """Return the reference a task returned; None if it returned none."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            value = self._ask("GET", path)["value"]
        except PlatformError:
            return None
        return dict(json.loads(value) if isinstance(value, str) else value)

    def failure(self, dag_id: str, run_id: str, task: TaskState) -> str:
        """Return what a failed task's log says last: its error, else its last lines."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task.name}/logs/{task.try_number}"
        try:
            entries = self._ask("GET", f"{path}?full_content=true")["content"]
        except PlatformError as error:
            return f"its log cannot be read: {error}"
        return _last_error(entries)

    def run_url(self, dag_id: str, run_id: str, task_id: str | None = None) -> str:
        """Return the page of a run, or of one of its tasks."""
        page = f"{self.url}/dags/{dag_id}/runs/{urllib.parse.quote(run_id)}"
        return f"{page}/tasks/{task_id}" if task_id else page

    def _ask(self, method: str, path: str, body: Json | None = None) -> Any:
        if self._token is None:
            self._token = str(self._send("POST", "/auth/token", self._login, token=None)["access_token"])
        return self._send(method, f"/api/v2/{path}", body, token=self._token)

    def _send(self, method: str, path: str, body: Json | None, *, token: str | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - our own address
        try:
            with self._opener.open(request, timeout=15) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            told = _detail(error)
            if error.code in (400, 422):
                raise ConfigError(f"Airflow refused the parameters: {told}") from error
            raise PlatformError(f"Airflow answered {error.code} to {method} {path}: {told}") from error
        except (OSError, ValueError) as error:
            raise PlatformError(f"Airflow at {self.url} does not answer ({error}); run `tandem up`") from error


def _quoted(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error).get("detail", error.reason))
    except (ValueError, AttributeError):
        return str(error.reason)


def _seconds(task: Json) -> float:
    if task["start_date"] is None:
        return 0.0
    end = datetime.fromisoformat(task["end_date"]) if task["end_date"] else datetime.now(UTC)
    return (end - datetime.fromisoformat(task["start_date"])).total_seconds()


def _last_error(entries: list[Any]) -> str:
    """Find the last exception in a structured log."""
    for entry in reversed(entries):
        details = entry.get("error_detail") if isinstance(entry, dict) else None
        if details:
            return f"{details[0]['exc_type']}: {details[0]['exc_value']}"
    lines = [str(e.get("event", "")) if isinstance(e, dict) else str(e) for e in entries]
    return " | ".join([line for line in lines if line][-3:]) or "its log is empty"
