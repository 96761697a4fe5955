"""The embedded profile: which processes make the platform on one machine, and with what settings they run."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config import REPOSITORY, Config
from pipelines.errors import PlatformError
from pipelines.platform import secrets
from pipelines.stores.artifacts import content_key

AIRFLOW_VERSION_FILE = "migrated"
WARM_SCHEDULER = (sys.executable, "-m", "pipelines.platform.warm_scheduler")
SERVING_PYTHON = REPOSITORY / ".venv-serving" / "bin" / "python"


@dataclass(frozen=True)
class Component:
    """One process of the platform.

    Attributes:
        name: as in logs and status.
        command: its command line.
        env: its whole environment.
        port: where it listens, None if nowhere; `port_of` names the setting in `PortsConfig`.
        health: URL that answers 200 when it works; None: Airflow's monitor tells, under `monitor`.
        monitor: name in Airflow's health report.
        essential: whether the platform is only up when this is.
    """

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    port: int | None = None
    port_of: str = ""
    health: str | None = None
    monitor: str | None = None
    essential: bool = True

    @property
    def digest(self) -> str:
        """Of command and settings: a running process with another one is restarted."""
        ours = {k: v for k, v in self.env.items() if k.startswith(("TANDEM_", "AIRFLOW_", "MLFLOW_"))}
        return content_key(command=self.command, env=ours)


def confined_environment(home: Path) -> dict[str, str]:
    """Return variables that keep libraries' own files below `home`, and keep them from reporting usage."""
    user = home / "user"
    return {
        "HOME": str(user),
        "XDG_CACHE_HOME": str(user / "cache"),
        "XDG_CONFIG_HOME": str(user / "config"),
        "XDG_DATA_HOME": str(user / "data"),
        "MPLCONFIGDIR": str(user / "matplotlib"),
        "KERAS_HOME": str(user / "keras"),
        "TMPDIR": str(home / "tmp"),
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "FEAST_USAGE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
    }


def components(config: Config) -> list[Component]:
    """Return the platform's processes in the order in which they are started."""
    return [_mlflow(config), *_airflow(config), _serving(config), _feast(config)]


def airflow_environment(config: Config) -> dict[str, str]:
    """Return the environment of every Airflow process."""
    folder = config.home / "airflow"
    keys = secrets.airflow_secrets(folder)
    secrets.password(folder)
    url = f"http://127.0.0.1:{config.ports.airflow}"
    settings = {
        "CORE__DAGS_FOLDER": REPOSITORY / "dags",
        "CORE__PLUGINS_FOLDER": REPOSITORY / "dags" / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": 2,
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "CORE__FERNET_KEY": keys["fernet_key"],
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{secrets.USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": secrets.password_file(folder),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "API__BASE_URL": url,
        "API__HOST": "127.0.0.1",
        "API__PORT": config.ports.airflow,
        "API__WORKERS": 1,
        "API__SECRET_KEY": keys["secret_key"],
        "API__INSTANCE_NAME": "Tandem",
        "API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "DAG_PROCESSOR__REFRESH_INTERVAL": 30,
        "LOGGING__BASE_LOG_FOLDER": folder / "logs",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.3,
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,  # also how long a worker may stay taken after its task ended
    }
    airflow = {f"AIRFLOW__{key}": str(value) for key, value in settings.items()}
    return _base(config) | airflow | {"AIRFLOW_HOME": str(folder), "PYTHONPATH": str(REPOSITORY)}


def airflow_command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of an Airflow command in our environment."""
    return (sys.executable, "-m", "airflow", *arguments)


def _base(config: Config) -> dict[str, str]:
    """The caller's environment without its Tandem and Airflow settings, which must not last as long as a process.

    A setting such as TANDEM_RETRIEVAL__EPOCHS belongs to one run: `tandem run` hands it over as a parameter.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "AIRFLOW_", "MLFLOW_", "PYTEST_"))}
    services = {k: v for k, v in os.environ.items() if k.startswith("TANDEM_SERVICES__")}
    ports = {f"TANDEM_PORTS__{name.upper()}": str(port) for name, port in config.ports.model_dump().items()}
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    return kept | confined_environment(config.home) | services | ports | path | {"TANDEM_HOME": str(config.home)}


def _mlflow(config: Config) -> Component:
    folder, port = config.home / "mlflow", config.ports.mlflow
    command = (
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")),
    )
    env = _base(config) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Component("mlflow", command, env, port, "mlflow", health=f"http://127.0.0.1:{port}/health")


def _airflow(config: Config) -> list[Component]:
    env, port = airflow_environment(config), config.ports.airflow
    # The first request to the tasks' side of the server takes seconds: this one is it, and no task waits for it.
    health = f"http://127.0.0.1:{port}/execution/health"
    return [
        Component("airflow-api-server", airflow_command("api-server"), env, port, "airflow", health=health),
        Component("airflow-scheduler", (*WARM_SCHEDULER, "--skip-serve-logs"), env, monitor="scheduler"),
        Component("airflow-dag-processor", airflow_command("dag-processor"), env, monitor="dag_processor"),
        Component(
            "airflow-triggerer",
            airflow_command("triggerer", "--skip-serve-logs"),
            env,
            monitor="triggerer",
            essential=False,
        ),
    ]


def _feast(config: Config) -> Component:
    port = config.ports.feast
    command = (sys.executable, "-m", "pipelines.platform.feast_pages")
    health = f"http://127.0.0.1:{port}/projects-list.json"
    return Component("feast", command, _base(config), port, "feast", health=health, essential=False)


def _serving(config: Config) -> Component:
    if not SERVING_PYTHON.exists():
        raise PlatformError(f"{SERVING_PYTHON} does not exist; expected the serving environment. Run: make setup")
    port = config.ports.serving
    env = _base(config) | {
        "TANDEM_SERVING__PORT": str(port),
        "TANDEM_SERVING__MLFLOW_URI": config.mlflow_uri,
        "TANDEM_SERVING__FEATURE_STORE_YAML": config.services.feature_store_yaml,
    }
    env |= {k: v for k, v in os.environ.items() if k.startswith("TANDEM_SERVING__")}
    command = (str(SERVING_PYTHON), "-m", "serving")
    return Component("serving", command, env, port, "serving", health=f"http://127.0.0.1:{port}/healthz")
