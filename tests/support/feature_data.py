"""A small lake with everything that makes point-in-time features hard."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from pipelines.config import FeatureConfig, SplitConfig
from pipelines.contracts import FeatureSet, Snapshot, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.steps.build_training_set import build_training_set
from pipelines.steps.compute_features import compute_features
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.feature_store import FeatureStore

START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = datetime(2024, 3, 10, 12, tzinfo=UTC)
CATEGORIES = ["drama", "comedy", "war", "noir", "animation"]
DATASET = "tiny"

SHORT = FeatureConfig(history_length=4, taste_length=3, seen_length=6, memory_limit="500MB")

Row = dict[str, object]
_DECLARED: list[bytes] = []


@dataclass(frozen=True)
class Workspace:
    """One home with its lake, and the steps run on it."""

    home: Path
    config: FeatureConfig = SHORT
    delay_seconds: float = 0.0

    @property
    def lake(self) -> Lake:
        return Lake(self.home / "lake" / DATASET)

    @property
    def artifacts(self) -> LocalArtifacts:
        return LocalArtifacts(self.home / "runs")

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(home=self.home, dataset=DATASET, memory_limit="500MB")

    def declare(self) -> FeatureStore:
        """Apply the feature declarations; the registry of the first home of a test run is copied to the others."""
        registry = self.home / "feast" / "registry.db"
        if not _DECLARED:
            self.store.apply()
            _DECLARED.append(registry.read_bytes())
        registry.parent.mkdir(parents=True, exist_ok=True)
        registry.write_bytes(_DECLARED[0])
        return self.store

    def fill(self, tables: dict[str, list[Row]]) -> Snapshot:
        """Write raw tables and return a snapshot of them."""
        for name, rows in tables.items():
            self.lake.overwrite(name, pa.Table.from_pylist(rows, LAKE_SCHEMAS[name]))
        return self.snapshot()

    def snapshot(self, as_of: datetime = AS_OF) -> Snapshot:
        return Snapshot(dataset=DATASET, snapshot_id="s1", as_of=as_of, versions=self.lake.versions())

    def compute(self, snapshot: Snapshot) -> FeatureSet:
        return compute_features(
            snapshot,
            config=self.config,
            delay_seconds=self.delay_seconds,
            lake=self.lake,
            artifacts=self.artifacts,
            scratch=self.home / "scratch",
        )

    def train(self, features: FeatureSet, split: SplitConfig | None = None) -> TrainingSet:
        return build_training_set(
            features,
            split=split or SplitConfig(validation_share=0.1, test_share=0.2),
            config=self.config,
            delay_seconds=self.delay_seconds,
            lake=self.lake,
            store=self.store,
            artifacts=self.artifacts,
            scratch=self.home / "scratch",
        )


def feature_table(workspace: Workspace, features: FeatureSet, view: str) -> list[Row]:
    """Rows of one feature table, by entity and time."""
    rows = workspace.lake.read(f"features/{view}", version=features.versions[view])
    return sorted(rows.to_pylist(), key=lambda row: (next(iter(row.values())), row["event_timestamp"]))


def event(number: int, user: str, item: str, at: datetime, **other: object) -> Row:
    return {
        "event_id": f"e{number:04d}",
        "user_id": user,
        "item_id": item,
        "event_type": "rating",
        "value": 3.0,
        "event_timestamp": at,
        "ingested_at": at,
        "session_id": None,
        "device": None,
        "source_partition": "all",
    } | other


def item(name: str, categories: list[str] | None, at: datetime = START - timedelta(days=1), **other: object) -> Row:
    return {"item_id": name, "title": f"Title {name}", "text": None, "categories": categories, "updated_at": at} | other


def user(name: str, attributes: list[str], at: datetime = START - timedelta(days=1)) -> Row:
    return {"user_id": name, "attributes": attributes, "updated_at": at}


def random_tables(seed: int, num_events: int = 300) -> dict[str, list[Row]]:
    """Events with shared moments, late arrivals and missing values; items and users that change."""
    rng = random.Random(seed)
    events: list[Row] = []
    at = START
    for number in range(num_events):
        if rng.random() > 0.4:
            at += timedelta(seconds=rng.choice([1, 60, 3_600, 20_000, 86_400 * rng.randint(0, 1)]), microseconds=7)
        if rng.random() < 0.05:
            at = (at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        late = timedelta(hours=rng.randint(1, 80)) if rng.random() < 0.2 else timedelta(0)
        events.append(
            event(
                number,
                f"u{rng.randint(0, 5)}",
                f"i{min(int(rng.expovariate(0.3)), 9)}",
                at,
                value=rng.choice([None, 1.0, 2.5, 4.0, 5.0]),
                ingested_at=at + late,
                device=rng.choice(["phone", None]),
            )
        )
    rng.shuffle(events)
    items = [item(f"i{n}", rng.sample(CATEGORIES, rng.randint(1, 3))) for n in range(9)] + [item("i9", None)]
    items += [item(f"i{n}", [rng.choice(CATEGORIES)], START + timedelta(days=9), title="Renamed") for n in (0, 1)]
    users = [user(f"u{n}", [f"age={20 + n}"]) for n in range(5)]
    users += [user("u0", ["age=21"], START + timedelta(days=5))]
    return {"events": events, "items": items, "users": users}
