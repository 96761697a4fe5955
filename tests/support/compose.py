"""Reads docker-compose.yml as Compose does, and runs its commands without containers.

There is no Docker engine in the test environment, so a service is started natively: its own command, with its own
environment and nothing else, after its mounts, hosts and ports are rewritten to this machine's.
"""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?+])(?P<text>[^}]*))?\})")


def raw_compose() -> dict[str, Any]:
    """Return the file with YAML merges done and `${...}` left as written."""
    return dict(yaml.safe_load(COMPOSE_FILE.read_text()))


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the file with `${...}` replaced; raises KeyError for a required variable that is empty."""
    return dict(_interpolated(raw_compose(), variables))


def env_file(path: Path) -> dict[str, str]:
    """Return the assignments of an env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _interpolated(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    return _VARIABLE.sub(lambda m: _value(m, variables), node) if isinstance(node, str) else node


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, text = match["name"], match["kind"], match["text"]
    if name is None:
        return "$"
    value = variables.get(name, "")
    if kind == "?" and not value:
        raise KeyError(f"{name} {text}")
    if kind == "+":
        return text if value else ""
    return value or (text if kind == "-" else "")


def script(name: str) -> Any:
    """Return a Python file of docker/ as a module; the folder is no package, since PyPI's `docker` is one."""
    spec = importlib.util.spec_from_file_location(f"tandem_{name}", REPOSITORY / "docker" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled_env() -> dict[str, str]:
    """Return what `docker/make_env.py` writes: a fresh value for every secret."""
    lines = script("make_env").filled((REPOSITORY / ".env.example").read_text()).splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class NativeStack:
    """Services of docker-compose.yml as processes of this machine.

    Attributes:
        scratch: folder for volumes, temporary files and logs.
        variables: what `.env` holds.
        suffix: makes database and role names of this run unique on a shared PostgreSQL server.
        environments: service -> folder of its programs; `default` for the others.
    """

    scratch: Path
    variables: Mapping[str, str]
    suffix: str
    environments: Mapping[str, Path]
    postgres: str = "127.0.0.1:5432"
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = compose(self.variables)["services"]
        for container_port in ("8080", "5000", "8000", "8333", "6379", "8974"):
            self.ports[container_port] = free_port()

    def start(self, name: str, *extra: str) -> None:
        """Start a service's command in a process group of its own."""
        service = self.services[name]
        command = [*service.get("entrypoint", []), *service.get("command", []), *extra]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [self._text(name, word) for word in command],
                env=self.environment(name),
                cwd=self._folder("tmp", name),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def finish(self, name: str, timeout: float) -> int:
        """Wait for a one-shot service and return its exit status."""
        return self.processes[name].wait(timeout)

    def healthy(self, name: str, timeout: float) -> bool:
        """Run the service's health check until it passes, its process ends, or `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            if self.check(name) == 0:
                return True
            time.sleep(0.5)
        return False

    def check(self, name: str) -> int:
        """Run the service's health check once and return its exit status."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        words = [self._text(name, word) for word in words]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(command, env=self.environment(name), capture_output=True, timeout=60, check=False)
        return done.returncode

    def exec(self, name: str, *words: str, timeout: float = 120) -> str:
        """Run a command as `docker compose exec` would and return what it printed."""
        done = subprocess.run(words, env=self.environment(name), capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{name}: {' '.join(words)} exited with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables a service sees: its own, and what an image always has."""
        own = {key: self._text(name, str(value)) for key, value in self.services[name].get("environment", {}).items()}
        programs = self.environments.get(name, self.environments["default"])
        path = f"{programs}:{self.environments['default']}:/usr/local/bin:/usr/bin:/bin:/usr/sbin"
        temporary = str(self._folder("tmp", name))
        return {"PATH": path, "PYTHONPATH": str(REPOSITORY), "HOME": temporary, "TMPDIR": temporary, **own}

    def log(self, name: str) -> Path:
        """Return the file with a service's output."""
        return self._folder("log") / f"{name}.txt"

    def tail(self, name: str, num_lines: int = 30) -> str:
        """Return the end of a service's output."""
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-num_lines:])

    def stop(self) -> None:
        """End every process that this stack started: first those that use the stores, all at once, then the stores."""
        stores = {name: process for name, process in self.processes.items() if name in ("postgres", "redis", "s3")}
        _end([process for name, process in self.processes.items() if name not in stores])
        _end(list(stores.values()))

    def _folder(self, *parts: str) -> Path:
        folder = self.scratch.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _text(self, name: str, text: str) -> str:
        paths = {"/app": REPOSITORY, "/tmp": self._folder("tmp", name)}
        for mount in self.services[name].get("volumes", []):
            source, target, *_ = mount.split(":")
            paths[target] = REPOSITORY / source if source.startswith("./") else self._folder("volumes", source)
        # One pass, longest first: a replaced path may itself begin with another one's name.
        prefixes = "|".join(sorted(map(re.escape, paths), key=len, reverse=True))
        text = re.sub(rf"(?<![\w.])({prefixes})(?=/|$)", lambda m: str(paths[m[1]]), text)
        text = re.sub(
            r"\b(airflow|mlflow|feast|search)(:\w+)@postgres:5432/\w+",
            rf"\1{self.suffix}\2@{self.postgres}/\1{self.suffix}",
            text,
        )
        text = re.sub(r"\b(airflow-api-server|mlflow|serving|redis|s3):(?=\d)", "127.0.0.1:", text)
        text = re.sub(r"^-ip=s3$|^-ip\.bind=0\.0\.0\.0$", lambda m: m[0].split("=")[0] + "=127.0.0.1", text)
        ports = "|".join(self.ports)
        return re.sub(rf"(?<!\d)({ports})(?!\d)", lambda m: str(self.ports[m[1]]), text)


def _end_with_parent() -> None:
    """Ask Linux to end this process when the test run dies, even by `kill -9`."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _end(processes: Sequence[subprocess.Popen[bytes]], seconds: float = 8) -> None:
    """Ask process groups to end, and end what is left of them after `seconds`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + seconds
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))


def missing_for_native_run(programs: Path) -> str | None:
    """Return why services cannot be started here, or None when they can."""
    for program in ("weed", "celery", "airflow", "mlflow"):
        if not (programs / program).exists():
            return f"{program} is not in {programs}; run `make test`, which installs requirements/dev.txt"
    for program in ("redis-server", "redis-cli", "psql"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    query = [
        "psql",
        "-h",
        "127.0.0.1",
        "-U",
        database_user(),
        "-d",
        "postgres",
        "-Atc",
        "select rolsuper from pg_roles where rolname = current_user",
    ]
    done = subprocess.run(
        query, capture_output=True, text=True, check=False, env={**os.environ, "PGCONNECT_TIMEOUT": "3"}
    )
    if done.stdout.strip() != "t":
        reason = done.stderr.strip() or "not a superuser"
        return f"no PostgreSQL on 127.0.0.1:5432 lets {database_user()} create databases: {reason}"
    return None


def database_user() -> str:
    """Return the PostgreSQL user that tests create databases as."""
    return os.environ.get("PGUSER", "root")


def psql(statement: str) -> None:
    """Run one statement as that user."""
    command = ["psql", "-h", "127.0.0.1", "-U", database_user(), "-d", "postgres", "-qc", statement]
    subprocess.run(command, check=True, capture_output=True)


def compose_schema() -> dict[str, Any]:
    """Return the Compose specification's JSON schema, which check-jsonschema carries."""
    import check_jsonschema

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    return dict(json.loads((folder / "compose-spec.json").read_text()))
