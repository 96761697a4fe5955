"""`tandem status`: addresses, processes, DAGs, champion and serving, for people and programs."""

import argparse
from dataclasses import asdict
from typing import Any

from pipelines.cli.options import add_platform_options, platform_config
from pipelines.config import Config
from pipelines.errors import TandemError

Json = dict[str, Any]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("status", help="show addresses, processes, DAGs, champion and serving")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print the platform's state."""
    from pipelines.platform.screens import print_json

    config = platform_config(parsed)
    state = report(config)
    if parsed.json:
        print_json(state)
    else:
        _print(config, state)
    return 0


def report(config: Config) -> Json:
    """Return the platform's state as JSON-serializable values; parts that do not answer say why."""
    from pipelines.platform.secrets import USER, password_file
    from pipelines.platform.supervisor import Supervisor

    components = Supervisor(config).status()
    return {
        "running": all(health.state == "healthy" for health in components),
        "home": str(config.home),
        "urls": {
            "airflow": f"http://127.0.0.1:{config.ports.airflow}",
            "mlflow": config.mlflow_uri,
            "serving": config.serving_url,
            "feast": f"http://127.0.0.1:{config.ports.feast}",
        },
        "credentials": {"user": USER, "password_file": str(password_file(config.home / "airflow"))},
        "components": [asdict(health) for health in components],
        "dags": _part(lambda: _dags(config)),
        "champion": _part(lambda: _champion(config)),
        "promotion": _part(lambda: _promotion(config)),
        "serving": _part(lambda: _serving(config)),
        "features": _part(lambda: _features(config)),
    }


def _part(ask: Any) -> Any:
    try:
        return ask()
    except TandemError as error:
        return {"error": str(error)}


def _dags(config: Config) -> Json:
    from pipelines.platform.following import client

    airflow = client(config)
    found = {}
    for dag in airflow.dags():
        run = airflow.latest_run(dag["dag_id"]) or {}
        found[dag["dag_id"]] = {
            "paused": dag["is_paused"],
            "last_run": run.get("dag_run_id"),
            "state": run.get("state"),
            "started": run.get("start_date"),
            "ended": run.get("end_date"),
        }
    return found


def _promotion(config: Config) -> Json:
    from pipelines.entrypoints.releasing import promotion_state

    _require_mlflow(config)
    return promotion_state(config)


def _promotion_line(state: Json) -> str | None:
    """Say who made the champion what it is, or that a move was cut off; None if nobody knows."""
    if "error" in state:
        return str(state["error"])
    if begun := state["begun"]:
        about = f"a {begun['kind']} of release {begun['version']} by {begun['by']}, begun {_minute(begun['at'])},"
        if state["under_way"]:
            return f"{about} is under way"
        return (
            f"{about} was cut off; `tandem up`, or the next promotion, finishes it if serving answers, else undoes it"
        )
    if last := state["last"]:
        about = f"a {last['kind']} of release {last['version']} by {last['by']}, {_minute(last['at'])}"
        return f"last, {about}: {last['reason']}" if last["reason"] else f"last, {about}"
    return None


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ") + " UTC"


def _require_mlflow(config: Config) -> None:
    from pipelines.errors import RegistryError
    from pipelines.platform.supervisor import answers

    if answers(f"{config.mlflow_uri}/health") is None:
        raise RegistryError(f"MLflow at {config.mlflow_uri} does not answer; run `tandem up`")


def _champion(config: Config) -> Json | None:
    from pipelines.contracts import CHAMPION, RECOMMENDER
    from pipelines.stores.registry import MlflowRegistry

    _require_mlflow(config)
    model = MlflowRegistry(config.mlflow_uri, config.home / "mlflow" / "cache").by_alias(RECOMMENDER, CHAMPION)
    return None if model is None else model.model_dump()


def _serving(config: Config) -> Json:
    from pipelines.stores.serving_client import ServingClient

    return ServingClient(config.serving_url, timeout_seconds=3).release()


def _features(config: Config) -> Json:
    from pipelines.stores.serving_client import ServingClient

    return ServingClient(config.serving_url, timeout_seconds=3).freshness()


def _features_line(views: Json) -> str:
    """Say which views are stale."""
    if "error" in views:
        return str(views["error"])
    stale = [f"{name} (up to date {view['audited_at'] or 'never'})" for name, view in views.items() if view["stale"]]
    fresh = f"{len(views)} views up to date" if views else "none online yet"
    return f"stale: {', '.join(stale)}; run materialize_features" if stale else fresh


def _print(config: Config, state: Json) -> None:
    from rich.console import Console

    from pipelines.platform.screens import print_addresses, print_table

    print_addresses(config, Console(highlight=False))
    rows = [
        (c["name"], c["state"], c["port"], c["pid"], f"{c['memory_mib']} MiB", c["log"]) for c in state["components"]
    ]
    print_table(("process", "state", "port", "pid", "memory", "log"), rows)
    dags = state["dags"]
    if "error" in dags:
        print(f"DAGs: {dags['error']}")
    else:
        print_table(
            ("DAG", "paused", "last run", "state"),
            [(name, dag["paused"], dag["last_run"], dag["state"]) for name, dag in sorted(dags.items())],
        )
    for part in ("champion", "serving"):
        value = state[part] or {}
        text = value.get("error") or value.get("reason") or (f"version {value['version']}" if value else "none yet")
        print(f"{part}: {text}")
    if line := _promotion_line(state["promotion"]):
        print(f"promotion: {line}")
    print(f"features: {_features_line(state['features'])}")
