"""The search for a model's best settings."""

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.config import Config
from pipelines.contracts import Search, TrainingSet
from pipelines.entrypoints.adapters import Json, as_json, open_artifacts
from pipelines.entrypoints.configuring import read_config


def plan_search(
    config: str, training_set: Json, trials: int, study: str | None = None, space: Mapping[str, Any] | None = None
) -> Json:
    """Begin a search, or find the one that was begun; returns a Search."""
    from pipelines.steps.plan_search import plan_search as step

    c = read_config(config)
    asked: Json = {"num_trials": trials, "study": study, "space": space, "seed": c.seed}
    return as_json(step(TrainingSet(**training_set), config=c.retrieval, limits=c.search, **asked, **_stores(c)))


def run_trials(config: str, search: Json, told: Callable[[Json], None] | None = None) -> int:
    """Work on a search until each trial is done or being worked on by others; returns how many this call did.

    `told` gets each trial as it ends: its number, state, value and error.
    """
    from dataclasses import asdict

    from pipelines.steps.run_trials import run_trials as step

    c = read_config(config)

    def say(slot: int, outcome: Any) -> None:
        if told:
            told({"trial": slot + 1, **asdict(outcome)})

    where: Json = {"artifacts": open_artifacts(c), "checkpoints": c.home / "checkpoints", **_stores(c)}
    return step(Search(**search), told=say, run=c.training, **where)


def report_search(config: str, search: Json) -> Json:
    """Publish what a search has found so far; returns a SearchResult."""
    from pipelines.steps.report_search import report_search as step

    c = read_config(config)
    return as_json(step(Search(**search), config=c, artifacts=open_artifacts(c), **_stores(c)))


def _stores(config: Config) -> Json:
    from pipelines.search.storage import open_storage
    from pipelines.stores.runs import MlflowRuns

    folder = config.home / "search"
    storage = open_storage(config.services.search_storage, folder)
    return {"storage": storage, "folder": folder, "runs": MlflowRuns(config.mlflow_uri)}
