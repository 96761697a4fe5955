"""Serving components for tests: in a thread of the test, or as the process that operators start."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from pipelines.config import REPOSITORY
from pipelines.contracts import ModelVersion
from pipelines.errors import RegistryError
from tests.support.mlflow_server import free_port
from tests.support.tiny_release import model_version

SERVING_PYTHON = REPOSITORY / ".venv-serving" / "bin" / "python"


class FakeSource:
    """A registry in memory: `put` a release folder, `point` the alias at it."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.model: ModelVersion | None = None
        self.error: Exception | None = None
        self.fetched: list[str] = []

    def put(self, version: str, folder: Path) -> ModelVersion:
        self.folders[version] = folder
        return model_version("recommender", folder, version=version)

    def point(self, model: ModelVersion | None) -> None:
        self.model = model

    def champion(self) -> ModelVersion | None:
        if self.error:
            raise self.error
        return self.model

    def fetch(self, model: ModelVersion) -> Path:
        self.fetched.append(model.version)
        if self.error and not isinstance(self.error, RegistryError):
            raise self.error
        return self.folders[model.version]

    def forget_old(self, live: ModelVersion) -> None:
        pass


class FakeStore:
    """An online store in memory."""

    def __init__(self, users: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.users = dict(users or {})
        self.down = False

    def online_user(self, user_id: str) -> Mapping[str, Any]:
        if self.down:
            raise ConnectionError("the online store is down")
        return self.users.get(user_id, {"user_num_events": None, "recent_items": None})


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an application over real HTTP from a thread."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            wait_until(lambda: server.started)
            yield client
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def serving_process(
    home: Path, *, python: Path | str = sys.executable, mlflow_uri: str = "http://127.0.0.1:9", **settings: Any
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Start `python -m serving` as an operator does; yields a client and the process."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    values = {"port": port, "mlflow_uri": mlflow_uri, "poll_seconds": 0.2, **settings}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
    environment |= {f"TANDEM_SERVING__{name.upper()}": str(value) for name, value in values.items()}
    environment["TANDEM_HOME"] = str(home)
    log = home / "serving.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [python, "-m", "serving"], cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
                wait_until(lambda: _answers(client, process, log), seconds=60)
                yield client, process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(condition: Any, *, seconds: float = 20) -> None:
    """Wait for a condition; AssertionError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.02)


def _answers(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"serving ended with {process.returncode}:\n{log.read_text()[-3000:]}"
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
