"""Any past training set can be had again, byte for byte, whatever happened to the lake since."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.config import SplitConfig, ValidationConfig
from pipelines.contracts import TrainingSet
from pipelines.data.ledger import find_training_set, training_sets
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import ConfigError, IntegrityError, LakeError
from pipelines.features import labels
from pipelines.steps import rebuild_training_set as step
from pipelines.steps.append_partition import append_partition
from pipelines.steps.compact_lake import compact_lake
from pipelines.steps.validate_partition import validate_partition
from pipelines.stores.artifacts import folder_files
from tests.support import raw
from tests.support.feature_data import AS_OF, START, Workspace, event
from tests.support.leakage import Built


@pytest.fixture
def built(tmp_path: Path, clean: Built) -> Built:
    """A copy of the clean home, to change."""
    shutil.copytree(clean.workspace.home, tmp_path / "home")
    return Built(Workspace(tmp_path / "home"), clean.training_set)


def rebuilt(built: Built, folder: Path, as_of: datetime = AS_OF, fingerprint: str = "") -> TrainingSet:
    workspace = built.workspace
    return step.rebuild_training_set(
        as_of,
        fingerprint=fingerprint,
        folder=folder,
        config=workspace.config,
        lake=workspace.lake,
        store=workspace.store,
        scratch=workspace.home / "scratch",
    )


def append(built: Built, name: str, **other: object) -> None:
    """Add events with new columns, as another writer might."""
    rows = [event(900 + n, "u1", "i1", START + timedelta(days=2, hours=n), ingested_at=AS_OF) for n in range(9)]
    table = pa.Table.from_pylist(rows, LAKE_SCHEMAS["events"])
    for column, value in other.items():
        table = table.append_column(column, pa.array([value] * table.num_rows))
    write_deltalake(built.workspace.lake.uri(name), table, mode="append", schema_mode="merge")


def test_every_byte_is_as_it_was_after_all_that_can_happen(tmp_path: Path, built: Built) -> None:
    """Later rows, an added column, other features, compaction, a vacuum, and a deleted `runs`."""
    lake, before = built.workspace.lake, folder_files(Path(built.training_set.uri))
    append(built, "events")
    append(built, "events", country="nl")
    later = built.workspace.compute(built.workspace.snapshot(AS_OF + timedelta(days=9)))
    wider = lake.read("features/user_activity", version=later.versions["user_activity"])
    lake.overwrite("features/user_activity", wider.append_column("mood", pa.array([1.0] * wider.num_rows)))
    assert set(compact_lake(lake=lake, published=None, keep_hours=24).values()) == {0}
    assert compact_lake(lake=lake, published=later, keep_hours=0)["features/user_activity"] == 0
    lake.require_files("features/user_activity", later.versions["user_activity"])
    assert compact_lake(lake=lake, published=None, keep_hours=0)["features/user_activity"] >= 1
    shutil.rmtree(built.workspace.home / "runs")
    again = rebuilt(built, tmp_path / "again")
    assert again == built.training_set.model_copy(update={"uri": str(tmp_path / "again")})
    assert folder_files(tmp_path / "again") == before
    newer = built.workspace.train(built.workspace.compute(built.workspace.snapshot(AS_OF + timedelta(days=9))))
    assert sum(newer.num_rows.values()) == 318


def test_raw_columns_and_features_that_went_or_changed_their_type_since_change_nothing(
    tmp_path: Path, built: Built
) -> None:
    """No policy of a delivery's columns changes the lake's: another writer does, with tables of other columns."""
    lake, before = built.workspace.lake, folder_files(Path(built.training_set.uri))
    for name, removed, retyped, kind in (
        ("events", ["device", "session_id"], "value", pa.string()),
        ("items", ["text", "categories"], "updated_at", pa.string()),
        ("users", ["attributes"], "updated_at", pa.int64()),
        ("features/user_activity", [], "event_timestamp", pa.string()),
    ):
        now = lake.read(name, version=lake.version(name) or 0).drop_columns(removed)
        place = now.schema.get_field_index(retyped)
        lake.overwrite(name, now.set_column(place, retyped, now[retyped].cast(kind)))
        assert lake.read(name, version=lake.version(name) or 0).schema.field(retyped).type == kind
    assert rebuilt(built, tmp_path / "again").fingerprint == built.training_set.fingerprint
    assert folder_files(tmp_path / "again") == before


def test_a_delivery_of_other_columns_changes_nothing(tmp_path: Path, built: Built) -> None:
    """The policies `accept` and `coerce`: one column has another type, one is gone; the lake's stay as they are."""
    workspace = built.workspace
    lake, before = workspace.lake, folder_files(Path(built.training_set.uri))
    delivery = raw.tables()
    events = delivery["events"].drop_columns(["device"])
    place = events.schema.get_field_index("value")
    delivery["events"] = events.set_column(place, "value", events["value"].cast(pa.string()))
    columns = lake.read("events", version=lake.version("events") or 0).schema
    lenient = ValidationConfig(missing_columns="accept", max_volume_ratio=1e6, max_value_shift=1e6)
    staged = raw.stage(tmp_path / "staged", delivery)
    stores: Any = {"lake": lake, "artifacts": workspace.artifacts}
    validated = validate_partition(staged, config=lenient, as_of=raw.AS_OF, **stores)
    assert append_partition(validated, **stores).num_appended["events"] == 40
    assert lake.read("events", version=lake.version("events") or 0).schema == columns
    rebuilt(built, tmp_path / "again")
    assert folder_files(tmp_path / "again") == before


def test_a_vacuumed_version_is_refused_by_name(tmp_path: Path, built: Built) -> None:
    lake = built.workspace.lake
    lake.overwrite("features/item_quality", lake.read("features/item_quality", version=0).slice(0, 3))
    table = DeltaTable(lake.uri("features/item_quality"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(LakeError, match=r"version 0 .*item_quality.* 1 of 1 files were vacuumed.*compact-lake"):
        rebuilt(built, tmp_path / "again")
    assert list(tmp_path.glob(".again*")) == []


def test_a_moment_without_a_training_set_names_those_there_are(tmp_path: Path, built: Built) -> None:
    with pytest.raises(LakeError, match=r"expected one of 2024-03-10T12:00:00\+00:00\. Build a new one"):
        rebuilt(built, tmp_path / "again", START)


def test_two_of_one_moment_are_told_apart_by_fingerprint(tmp_path: Path, built: Built) -> None:
    split = SplitConfig(validation_share=0.2, test_share=0.2)
    other = built.workspace.train(built.training_set.features, split)
    with pytest.raises(LakeError, match="2 training sets are as of"):
        rebuilt(built, tmp_path / "again")
    found = rebuilt(built, tmp_path / "again", fingerprint=other.fingerprint[:12])
    assert found.num_rows == other.num_rows != built.training_set.num_rows
    assert folder_files(tmp_path / "again") == folder_files(Path(other.uri))


def test_other_code_is_noticed(tmp_path: Path, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    known = labels.known_events
    monkeypatch.setattr(labels, "known_events", lambda *a, **k: known(*a, **k).filter(known(*a, **k)["value"] != 5.0))
    with pytest.raises(IntegrityError, match="The code that reads labels or joins features changed since"):
        rebuilt(built, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_nothing_is_written_over(tmp_path: Path, built: Built) -> None:
    with pytest.raises(ConfigError, match="exists; expected a folder to make"):
        rebuilt(built, tmp_path)


def test_building_again_enters_nothing_twice(clean: Built) -> None:
    lake = clean.workspace.lake
    assert len(training_sets(lake)) == 1
    entry = find_training_set(lake, AS_OF)
    assert entry.versions["features/user_taste"] == 0
    assert entry.training_set == clean.training_set
    online = clean.training_set.features.model_copy(update={"num_online": {"user_taste": 5}})
    assert clean.workspace.train(online).fingerprint == clean.training_set.fingerprint
    assert len(training_sets(lake)) == 1
