"""Start, watch and end the platform's processes. Nothing of it stays in memory: `home/run` has what is known."""

import fcntl
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psutil

from pipelines.config import REPOSITORY, Config
from pipelines.errors import PlatformError
from pipelines.platform.embedded import Component, airflow_command, airflow_environment, components
from pipelines.platform.ports import require_free
from pipelines.platform.processes import Record, end, load_record, resident_bytes, spawn

State = Literal["stopped", "starting", "healthy", "dead"]
START_SECONDS = 240.0  # seconds that a slow or busy machine may need; 20 are usual
LOG_LINES = 8


@dataclass(frozen=True)
class Health:
    """State of one component."""

    name: str
    state: State
    seconds: float = 0.0
    pid: int | None = None
    port: int | None = None
    log: str = ""
    memory_mib: int = 0


Watcher = Callable[[Sequence[Health]], None]


class Supervisor:
    """The platform of one home.

    Args:
        config: gives home and ports.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._run = config.home / "run"
        self._logs = config.home / "logs"
        self._children: list[subprocess.Popen[bytes]] = []  # kept so that the ended ones are reaped

    def up(self, watch: Watcher = lambda _: None) -> None:
        """Start what is not running, leave what is, and return when all of it is healthy.

        Args:
            watch: called with the state of every component while waiting.

        Raises:
            PlatformError: a port is taken, a process ended, or it did not become healthy in time.
        """
        with self._locked():
            for folder in (self._run, self._logs, self._config.home / "tmp", self._config.home / "user"):
                folder.mkdir(parents=True, exist_ok=True)
            wanted = components(self._config)
            missing = [c for c in wanted if not self._is_current(c)]
            end(record for c in missing if (record := self._record(c.name)))
            for component in missing:
                if component.port is not None:
                    require_free(component.port_of, component.port)
            self._start_all(missing, wanted, watch)

    def stop(self) -> int:
        """End every process of the platform and nothing else; returns how many ended."""
        if not self._run.exists():
            return 0
        with self._locked():
            paths = sorted(self._run.glob("*.json"))
            ended = end(record for path in paths if (record := load_record(path)))
            self._reap()
            for path in paths:
                path.unlink()
        return ended

    def status(self) -> list[Health]:
        """Return the state of every component now."""
        monitor = self._monitor()
        return [self._health(component, monitor) for component in components(self._config)]

    def _start_all(self, missing: Sequence[Component], wanted: Sequence[Component], watch: Watcher) -> None:
        begun = time.monotonic()
        airflow = [c for c in missing if c.essential and c.name.startswith("airflow-")]
        for component in missing:
            if component.essential and component not in airflow:
                self._start(component)
        if airflow:
            self._migrate(lambda: watch(self.status()))
        for component in airflow:
            self._start(component)
        self._await([c for c in wanted if c.essential], begun, watch)
        # The others are not waited for, so they do not compete for the processor with what is.
        for component in missing:
            if not component.essential:
                self._start(component)
        watch(self.status())

    def _start(self, component: Component) -> None:
        log = self._logs / f"{component.name}.log"
        child = spawn(component.command, env=component.env, log=log, cwd=REPOSITORY)
        self._children.append(child)
        started = psutil.Process(child.pid).create_time()
        record = Record(child.pid, started, component.digest, component.port, component.port_of)
        record.save(self._run / f"{component.name}.json")

    def _await(self, wanted: Sequence[Component], begun: float, watch: Watcher) -> None:
        while True:
            monitor = self._monitor()
            states = [self._health(component, monitor) for component in wanted]
            watch(states)
            if all(health.state == "healthy" for health in states):
                return
            for health in states:
                if health.state == "dead":
                    raise PlatformError(
                        f"{health.name} ended while starting; its last lines: {self._tail(health.name)}"
                    )
            if time.monotonic() - begun > START_SECONDS:
                slow = ", ".join(health.name for health in states if health.state != "healthy")
                raise PlatformError(
                    f"{slow} did not become healthy within {START_SECONDS:.0f} s; see {self._logs}, then: make stop run"
                )
            time.sleep(0.3)

    def _migrate(self, tick: Callable[[], None]) -> None:
        """Bring Airflow's database to the installed version, if it is not."""
        from importlib.metadata import version

        marker = self._config.home / "airflow" / "migrated"
        installed = version("apache-airflow")
        if marker.exists() and marker.read_text() == installed:
            return
        log = self._logs / "airflow-migrate.log"
        child = spawn(airflow_command("db", "migrate"), env=airflow_environment(self._config), log=log, cwd=REPOSITORY)
        while child.poll() is None:
            tick()
            time.sleep(0.3)
        if child.returncode != 0:
            raise PlatformError(
                f"Airflow's database could not be set up; its last lines: {self._tail('airflow-migrate')}"
            )
        marker.write_text(installed)

    def _is_current(self, component: Component) -> bool:
        record = self._record(component.name)
        return record is not None and record.process is not None and record.digest == component.digest

    def _record(self, name: str) -> Record | None:
        return load_record(self._run / f"{name}.json")

    def _health(self, component: Component, monitor: dict[str, float]) -> Health:
        record = self._record(component.name)
        log = str(self._logs / f"{component.name}.log")
        if record is None:
            return Health(component.name, "stopped", port=component.port, log=log)
        self._reap()
        if record.process is None:
            return Health(component.name, "dead", port=component.port, log=log)
        if component.health is not None:
            works = answers(component.health) is not None
        else:
            works = monitor.get(component.monitor or "", 0.0) >= record.started
        memory = resident_bytes(record) // 2**20
        seconds = time.time() - record.started
        return Health(
            component.name, "healthy" if works else "starting", seconds, record.pid, component.port, log, memory
        )

    def _monitor(self) -> dict[str, float]:
        """Airflow component -> its last heartbeat, seconds since the epoch, as the API server reports it."""
        body = answers(f"http://127.0.0.1:{self._config.ports.airflow}/api/v2/monitor/health")
        try:
            report: dict[str, Any] = json.loads(body or b"{}")
        except ValueError:
            return {}
        beats: dict[str, float] = {}
        for name, values in report.items():
            beat = values.get(f"latest_{name}_heartbeat") if isinstance(values, dict) else None
            if beat and values.get("status") == "healthy":
                beats[name] = datetime.fromisoformat(beat).timestamp()
        return beats

    def _reap(self) -> None:
        """Take note of started processes that ended, so that they do not linger as zombies."""
        self._children = [child for child in self._children if child.poll() is None]

    def _tail(self, name: str) -> str:
        log = self._logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip()) + f" (all of it: {log})"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `stop` of a home at a time."""
        self._run.mkdir(parents=True, exist_ok=True)
        with (self._run / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PlatformError(
                    f"another `tandem up`, `run` or `stop` is at work on {self._config.home}; wait for it to end"
                ) from error
            yield


def answers(url: str) -> bytes | None:
    """Return what a URL of this machine answers with 200, else None."""
    try:
        with urllib.request.urlopen(url, timeout=3) as response:  # noqa: S310 - our own address
            return bytes(response.read())
    except (OSError, urllib.error.URLError, ValueError):
        return None
