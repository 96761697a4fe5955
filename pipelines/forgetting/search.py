"""All places where a user can be, and those that forgetting can only name: bytes that stand for something else, too."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.contracts import CHALLENGER, CHAMPION, RECOMMENDER, Remainder
from pipelines.data.lake import Lake
from pipelines.forgetting.files import files_below, holds
from pipelines.forgetting.needle import Needle
from pipelines.forgetting.places import (
    AuditedEventTimes,
    CachedModels,
    LogFiles,
    OnlineFeatures,
    Place,
    RunFolders,
    ServedRecords,
)
from pipelines.forgetting.tables import TableHistory, TableRows
from pipelines.stores.base import ModelRegistry
from pipelines.stores.served import EVENT_LOG, FEATURE_LOG, FORGOTTEN_LOG, ServedLog

RETRAIN = (
    "train without the user, which `train_models` does after the next features, promote the release, then delete this "
    "version and its run in MLflow and run `mlflow gc`"
)
NAMED = {
    "mlflow": RETRAIN,
    "serving/cache": "goes when serving has loaded a release made without the user",
    "airflow": "Airflow keeps the parameters of a run: delete the run of forget_user in its pages",
}
"""Folders below home of which forgetting can only speak -> remedy."""
SHARED = (
    "{}: a user of the same id was not forgotten; where it is the same person, run `tandem forget-user` with that "
    "`--dataset`, too"
)
"""Of what the online features of other data sets have of the id."""
AUDITED, ONLINE = "feast/audited", "feast/online.db"
UNSURE = "look into it: so short an id may mean something else there"


@dataclass(frozen=True)
class Stores:
    """Everything that can hold a user of one data set.

    Attributes:
        dataset: namespace of lake, runs, logs and models.
        home: of the platform.
        lake: the data set's lake.
        store: its feature store.
        logs: kind -> what serving writes: `events` and `requests`.
        registry: its models.
        task_logs: folder of Airflow's logs where they are not below home.
    """

    dataset: str
    home: Path
    lake: Lake
    store: Any
    logs: dict[str, ServedLog]
    registry: ModelRegistry
    task_logs: Path | None = None


def places(stores: Stores, needle: Needle) -> list[Place]:
    """Return where forgetting removes a user from, in the order in which it does.

    What is served comes last: by then every serving process knows that the user is forgotten.
    """
    tables = stores.lake.tables()
    return [
        *(TableRows(stores.lake, table, needle) for table in tables),
        *(TableHistory(stores.lake, table, needle) for table in tables),
        RunFolders(stores.home / "runs" / stores.dataset, needle),
        CachedModels(stores.home / "mlflow" / "cache", needle),
        OnlineFeatures(stores.store, needle),
        AuditedEventTimes(stores.store.audited, needle),
        ServedRecords(stores.logs[EVENT_LOG], stores.dataset, needle, "served events"),
        ServedRecords(stores.logs[FEATURE_LOG], stores.dataset, needle, "features of requests"),
        LogFiles(_log_folders(stores), needle),
    ]


def _log_folders(stores: Stores) -> list[Path]:
    below_home = [stores.home / "logs", stores.home / "airflow"]
    return [*below_home, stores.task_logs] if stores.task_logs else below_home


def remainders(stores: Stores, needle: Needle) -> list[Remainder]:
    """Return where else the user is, each with its remedy; without one where nobody should be."""
    return [*_models(stores, needle), *_files(stores, needle)]


def _models(stores: Stores, needle: Needle) -> list[Remainder]:
    """Versions whose vocabulary, manifest or reports know the user; their digests allow no change."""
    registry, found = stores.registry, []
    aliases = {alias: registry.by_alias(RECOMMENDER, alias) for alias in (CHAMPION, CHALLENGER)}
    for model in registry.list_versions(stores.dataset):
        scratch = Path(tempfile.mkdtemp())
        try:
            registry.fetch(model, scratch)
            files = sum(holds(file, needle) for file in files_below(scratch))
        finally:
            shutil.rmtree(scratch)
        if files:
            alias = next((f" ({alias})" for alias, version in aliases.items() if version == model), "")
            place = f"model {model.name} version {model.version}{alias}"
            found.append(Remainder(place=place, num=files, remedy=RETRAIN))
    return found


def _files(stores: Stores, needle: Needle) -> list[Remainder]:
    """Files below home that belong to no place; those of MLflow are searched by version above, too."""
    known = ("runs", "logs", "lake", "mlflow/cache", *(f"serving/{k}" for k in (EVENT_LOG, FEATURE_LOG, FORGOTTEN_LOG)))
    found: dict[tuple[str, str], int] = {}
    others = _other_users(stores, needle)
    of_others = (ONLINE, *(f"{AUDITED}/{project}/" for project in others)) if others else ()
    for file in files_below(stores.home):
        path = file.relative_to(stores.home).as_posix()
        if path.startswith(tuple(f"{folder}/" for folder in known)) or _is_task_log(path) or not holds(file, needle):
            continue
        area = next((area for area in NAMED if path.startswith(f"{area}/")), "")
        key = (f"files below {area}", NAMED[area]) if area else (f"file {path}", "" if needle.telling else UNSURE)
        if path.startswith(of_others):
            key = ("online features of other data sets", SHARED.format(", ".join(others)))
        found[key] = found.get(key, 0) + 1
    return [Remainder(place=place, num=num, remedy=remedy) for (place, remedy), num in found.items()]


def _other_users(stores: Stores, needle: Needle) -> list[str]:
    """Return the other data sets, as Feast calls them, that have the id online: one file has the rows of all."""
    folder = stores.home / AUDITED
    found = {file.relative_to(folder).parts[0] for file in files_below(folder) if holds(file, needle)}
    return sorted(found - {stores.store.audited.name})


def _is_task_log(path: str) -> bool:
    return path.startswith("airflow/") and path.endswith(".log")
