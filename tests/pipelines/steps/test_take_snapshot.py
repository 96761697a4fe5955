from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import LakeError
from pipelines.steps.take_snapshot import take_snapshot
from tests.support.raw import AS_OF, START, event, tables


def fill(folder: Path, num_events: int = 5) -> Lake:
    lake = Lake(folder)
    for table, rows in tables(num_events).items():
        full = rows.append_column("source_partition", [["all"] * rows.num_rows]) if table == "events" else rows
        lake.append_once(table, full.cast(LAKE_SCHEMAS[table]), app_id="all")
    return lake


def test_without_a_moment_it_is_the_one_after_the_newest_known_row(tmp_path: Path) -> None:
    lake = fill(tmp_path)
    newest = event(4)["ingested_at"]
    snapshot = take_snapshot("tiny", lake=lake, as_of=None, delay_seconds=0.0)
    assert snapshot.as_of == newest + timedelta(microseconds=1)
    delayed = take_snapshot("tiny", lake=lake, as_of=None, delay_seconds=60.0)
    assert delayed.as_of == newest + timedelta(seconds=60, microseconds=1)


def test_versions_are_fixed_and_name_the_snapshot(tmp_path: Path) -> None:
    lake = fill(tmp_path)
    first = take_snapshot("tiny", lake=lake, as_of=AS_OF, delay_seconds=0.0)
    assert first == take_snapshot("tiny", lake=lake, as_of=AS_OF, delay_seconds=0.0)
    assert set(first.versions) == {"events", "items", "users"}
    lake.append_once("items", lake.read("items", version=first.versions["items"]), app_id="more")
    assert take_snapshot("tiny", lake=lake, as_of=AS_OF, delay_seconds=0.0).snapshot_id != first.snapshot_id
    assert take_snapshot("tiny", lake=lake, as_of=START, delay_seconds=0.0).snapshot_id != first.snapshot_id


def test_an_empty_lake_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="has no events, items, users; run `tandem ingest-events`"):
        take_snapshot("tiny", lake=Lake(tmp_path), as_of=None, delay_seconds=0.0)


def test_a_lake_without_events_says_so(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="has no event; expected at least one"):
        take_snapshot("tiny", lake=fill(tmp_path, 0), as_of=None, delay_seconds=0.0)
