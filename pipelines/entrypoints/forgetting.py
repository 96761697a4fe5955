"""Forgetting a user, and proving it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import Config
from pipelines.entrypoints.adapters import (
    Json,
    as_json,
    open_artifacts,
    open_feature_store,
    open_forgotten,
    open_lake,
    open_registry,
    open_served_log,
)
from pipelines.entrypoints.configuring import read_config
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.forgetting.search import Stores


def forget_user(config: str, user_id: str) -> Json:
    """Remove a user from lake, runs, online features, logs and caches; returns a Forgetting, which names nobody."""
    from pipelines.steps.forget_user import forget_user as step

    c = read_config(config)
    where: Json = {"stores": _stores(c), "forgotten": open_forgotten(c), "artifacts": open_artifacts(c)}
    return as_json(step(user_id, as_of=datetime.now(UTC), **where))


def find_user(config: str, user_id: str) -> Json:
    """Look for a user everywhere; returns a UserSearch, whatever it found."""
    from pipelines.steps.find_user import find_user as step

    c = read_config(config)
    return as_json(step(user_id, stores=_stores(c), forgotten=open_forgotten(c)))


def check_forgotten(config: str, user_id: str) -> Json:
    """Look for a forgotten user everywhere; returns a UserSearch, or fails naming where the user still is."""
    from pipelines.contracts import UserSearch
    from pipelines.steps.find_user import require_forgotten

    return as_json(require_forgotten(UserSearch(**find_user(config, user_id))))


def _stores(c: Config) -> "Stores":
    from pipelines.forgetting.search import Stores

    return Stores(
        dataset=c.dataset,
        home=c.home,
        task_logs=_task_logs(c),
        lake=open_lake(c),
        store=open_feature_store(c),
        logs={kind: open_served_log(c, kind) for kind in ("events", "requests")},
        registry=open_registry(c),
    )


def _task_logs(c: Config) -> Path | None:
    folder = Path(c.services.task_logs) if c.services.task_logs else None
    if folder and not folder.is_dir():
        raise ConfigError(
            f"services.task_logs is {folder}, and there is no such folder; expected the one with Airflow's logs. Run "
            "this where they are, such as on a worker"
        )
    return folder
