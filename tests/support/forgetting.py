"""A home with two users in everything that can hold one, to forget one of them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CHAMPION, EVENTS, ITEMS, QUARANTINE, RECOMMENDER, USERS, Forgetting
from pipelines.data.schemas import LAKE_SCHEMAS, QUARANTINE_SCHEMA
from pipelines.forgetting.needle import Needle
from pipelines.forgetting.search import Stores
from pipelines.steps.find_user import find_user
from pipelines.steps.forget_user import forget_user
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.base import RunRecord
from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import EVENT_LOG, FEATURE_LOG, FORGOTTEN_LOG, open_served
from tests.support.feature_data import DATASET, START, Workspace, event, item, user
from tests.support.memory_registry import MemoryRegistry

GONE, OTHER = "zoe-victim-7", "max-other-8"
NOW = datetime(2025, 5, 1, tzinfo=UTC)


class NoViews:
    """A feature store in which nothing was declared yet."""

    audited = Path("nowhere")

    def user_views(self) -> tuple[None, None, list[Any]]:
        return None, None, []


class Home:
    """One home with everything in it that can hold a user."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.work = Workspace(home)
        self.logs = {kind: open_served("files", kind, home=home) for kind in (EVENT_LOG, FEATURE_LOG)}
        self.registry = MemoryRegistry(home.parent / "registry")
        self.stores = Stores(
            dataset=DATASET, home=home, lake=self.work.lake, store=NoViews(), logs=self.logs, registry=self.registry
        )

    @property
    def forgotten(self) -> ForgottenUsers:
        return ForgottenUsers(open_served("files", FORGOTTEN_LOG, home=self.home))

    def fill(self) -> "Home":
        """Two users in raw tables of several versions, staged and reported rows, logs, a cache."""
        at = [START + timedelta(days=n) for n in range(6)]
        events = [event(n, (GONE, OTHER)[n % 2], f"i{n % 3}", at[n]) for n in range(6)]
        tables = {EVENTS: events, ITEMS: [item(f"i{n}", ["war"]) for n in range(3)]}
        for name, rows in {**tables, USERS: [user(GONE, ["age=30"]), user(OTHER, ["age=31"])]}.items():
            for number, row in enumerate(rows):
                part = pa.Table.from_pylist([row], LAKE_SCHEMAS[name])
                self.work.lake.append_once(name, part, app_id=f"{name} {number}")
        raw = [{"user_id": name, "item_id": "nothing"} for name in (GONE, OTHER)]
        aside = [
            {"table": EVENTS, "rule": "r", "raw_row": json.dumps(row, separators=(",", ":")), "partition": "all",
             "quarantined_at": START} for row in raw
        ]  # fmt: skip
        self.work.lake.append_once(QUARANTINE, pa.Table.from_pylist(aside, QUARANTINE_SCHEMA), app_id="q")
        for name in (GONE, OTHER):
            self.publish(f"read_partition/{Needle(name).key.hex()[-16:]}", name)
        config = self.home / "runs" / DATASET / "config" / "0123456789abcdef"
        config.mkdir(parents=True)
        (config / "config.json").write_text("{}")
        served = [{"event_id": f"s{n}", "user_id": (GONE, OTHER)[n % 2], "item_id": "i1"} for n in range(4)]
        self.logs[EVENT_LOG].append(DATASET, served)
        self.logs[FEATURE_LOG].append(DATASET, [{"request_id": "r", "user_id": name} for name in (GONE, OTHER)])
        for path in ("logs/serving.log", "airflow/logs/task/attempt=1.log"):
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text(f"asked for {GONE}\nasked for {OTHER}\n")
        bundle = self.home / "mlflow" / "cache" / "retrieval" / "0123456789abcdef"
        bundle.mkdir(parents=True)
        pq.write_table(pa.table({"value": [GONE]}), bundle / "user.parquet")
        self.close()
        return self

    def publish(self, key: str, name: str) -> None:
        """A published folder: rows, and a page that shows one."""

        def write(folder: Path) -> None:
            pq.write_table(pa.table({"user_id": [name]}), folder / "events.parquet")
            (folder / "docs.html").write_text(f"<td>{name}</td>")

        self.work.artifacts.publish(f"{DATASET}/{key}", write)

    def register(self) -> None:
        """A champion whose vocabulary knows both users."""
        bundle = self.home.parent / "bundle"
        bundle.mkdir()
        pq.write_table(pa.table({"value": [GONE, OTHER]}), bundle / "user.parquet")
        where: dict[str, Any] = {"key": "k", "dataset": DATASET, "record": RunRecord(name="r")}
        model = self.registry.register(RECOMMENDER, bundle, **where)
        self.registry.set_alias(RECOMMENDER, CHAMPION, model.version)

    def forget(self, name: str = GONE) -> Forgetting:
        artifacts = LocalArtifacts(self.home / "runs")
        return forget_user(name, stores=self.stores, forgotten=self.forgotten, artifacts=artifacts, as_of=NOW)

    def find(self, name: str = GONE) -> dict[str, int]:
        found = find_user(name, stores=self.stores, forgotten=self.forgotten)
        return {place.place: place.num for place in (*found.found, *found.remains)}

    def close(self) -> None:
        for log in self.logs.values():
            log.close()
