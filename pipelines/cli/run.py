"""`tandem run`: start the platform, run the whole pipeline in it, show what is served."""

import argparse
import os
import time
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, add_platform_options, parameters
from pipelines.config import Config
from pipelines.platform.following import PIPELINE
from pipelines.settings import environment_settings

NOT_SETTINGS = ("home", "dataset", "ports.", "services.")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("run", help="start the platform, run the whole pipeline, show what is served")
    add_config_options(command)
    command.add_argument("--as-of", default="", metavar="MOMENT", help="use only what was known before it")
    command.add_argument("--partition", default="all", help="`all`, or arrival dates START/END")
    add_platform_options(command, home=False)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Run the pipeline through Airflow's scheduler."""
    from pipelines.platform.following import client, follow, wait_for_dag
    from pipelines.platform.screens import Progress, print_json, print_last_screen
    from pipelines.platform.showcase import showcase
    from pipelines.platform.supervisor import Supervisor

    begun = time.monotonic()
    conf = run_conf(parsed)
    entrypoints.parse_as_of(parsed.as_of)
    config = entrypoints.read_config(entrypoints.resolve_params(conf)["config"])
    with Progress() as progress:
        progress.say(f"Starting the platform in {config.home}")
        Supervisor(config).up(progress.platform)
        airflow = client(config)
        wait_for_dag(airflow, PIPELINE)
        before = airflow.latest_run(PIPELINE)
        if before is not None and before["state"] in ("queued", "running"):
            progress.say(f"{before['dag_run_id']} is still at work; this run starts when it ends")
        run_id = airflow.trigger(PIPELINE, conf)
        page = airflow.run_url(PIPELINE, run_id)
        progress.say(f"Running {PIPELINE} on {config.dataset}: {page}")
        try:
            tasks = follow(airflow, PIPELINE, run_id, progress.run)
        except KeyboardInterrupt:
            progress.say(f"No longer watching. The run goes on in Airflow: {page}")
            raise
    promotion = airflow.result(PIPELINE, run_id, "promote_release") or {}
    outcome = str(promotion.get("reason", ""))
    shown = showcase(config, outcome)
    seconds = time.monotonic() - begun
    if parsed.json:
        print_json(_summary(config, run_id, promotion, shown, tasks, seconds))
    else:
        print_last_screen(config, shown, outcome, seconds)
    return 0


def run_conf(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the DAG run's parameters.

    Settings of this shell's environment are handed over as parameters: the scheduler, which may have been started
    long ago from another shell, does not see them, and the run's page shows them.
    """
    outer = {k: v for k, v in environment_settings().items() if not k.startswith(NOT_SETTINGS)}
    given = parameters(parsed)
    dataset = given.get("dataset") or os.environ.get("TANDEM_DATASET") or None
    settings = outer | given.get("settings", {})
    conf = given | {
        "dataset": dataset,
        "settings": settings,
        "partition": parsed.partition,
        "as_of": parsed.as_of or None,
    }
    return {key: value for key, value in conf.items() if value not in (None, {}, "")}


def _summary(
    config: Config, run_id: str, promotion: dict[str, Any], shown: Any, tasks: Any, seconds: float
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "seconds": round(seconds, 1),
        "tasks": {task.name: round(task.seconds, 1) for task in tasks},
        "dataset": config.dataset,
        "promotion": promotion,
        "champion": shown.release,
        "user_id": shown.user_id,
        "history": shown.history,
        "recommendations": shown.recommendations,
    }
