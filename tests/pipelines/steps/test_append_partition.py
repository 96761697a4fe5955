import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.contracts import EVENTS, ITEMS, QUARANTINE, RAW_TABLES, ValidatedPartition
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS, QUARANTINE_SCHEMA
from pipelines.data.validation import Verdict
from pipelines.errors import DataContractError
from pipelines.steps.append_partition import append_partition
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.raw import AS_OF, START, item, tables

ALL_TABLES = (*RAW_TABLES, QUARANTINE)


def validated(
    folder: Path,
    partition: dict[str, pa.Table],
    *,
    name: str = "all",
    raw_key: str = "a1",
    seen: dict[str, int] | None = None,
) -> ValidatedPartition:
    """A partition as validation publishes it, without validating."""
    import json
    from dataclasses import asdict

    target = folder / f"validated-{raw_key}-{name.replace('/', '_')}"
    target.mkdir(parents=True)
    for table, rows in partition.items():
        pq.write_table(rows, target / f"{table}.parquet")
    bad = {"table": "events", "rule": "unknown_item", "raw_row": "{}", "partition": name, "quarantined_at": AS_OF}
    pq.write_table(pa.Table.from_pylist([bad], schema=QUARANTINE_SCHEMA), target / "quarantine.parquet")
    verdict = Verdict(raw_key=raw_key, lake_versions=seen or {})
    (target / "verdict.json").write_text(json.dumps(asdict(verdict)))
    return ValidatedPartition(
        dataset="tiny",
        partition=name,
        uri=str(target),
        quarantine_uri=str(target / "quarantine.parquet"),
        docs_uri="",
        num_accepted={table: rows.num_rows for table, rows in partition.items()},
        num_quarantined={"unknown_item": 1},
    )


def append(folder: Path, partition: ValidatedPartition) -> Any:
    return append_partition(partition, lake=Lake(folder / "lake"), artifacts=LocalArtifacts(folder))


def contents(folder: Path) -> dict[str, list[dict[str, Any]]]:
    lake = Lake(folder / "lake")
    return {table: lake.read(table, version=version).to_pylist() for table, version in lake.versions().items()}


def test_rows_come_into_the_lake_with_their_partition(tmp_path: Path) -> None:
    ingested = append(tmp_path, validated(tmp_path, tables(5)))
    assert ingested.num_appended == {"items": 4, "users": 3, "quarantine": 1, "events": 5}
    lake = Lake(tmp_path / "lake")
    assert ingested.versions == lake.versions()
    events = lake.read(EVENTS, version=ingested.versions[EVENTS])
    assert events.schema.equals(LAKE_SCHEMAS[EVENTS])
    assert events["source_partition"].unique().to_pylist() == ["all"]
    assert events.drop_columns(["source_partition"]).to_pylist() == tables(5)[EVENTS].to_pylist()


def test_appending_again_adds_nothing(tmp_path: Path) -> None:
    partition = validated(tmp_path, tables(5))
    append(tmp_path, partition)
    before = contents(tmp_path)
    assert append(tmp_path, partition).num_appended == dict.fromkeys((*ALL_TABLES,), 0)
    assert contents(tmp_path) == before


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from pipelines.contracts import ValidatedPartition
from pipelines.data.lake import Lake
from pipelines.steps.append_partition import append_partition
from pipelines.stores.artifacts import LocalArtifacts

folder, number, partition = Path(sys.argv[1]), int(sys.argv[2]), ValidatedPartition.model_validate_json(sys.argv[3])
append_once, calls = Lake.append_once, []

def dies(self, *arguments, **named):
    done = append_once(self, *arguments, **named)
    calls.append(done)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Lake.append_once = dies
append_partition(partition, lake=Lake(folder / "lake"), artifacts=LocalArtifacts(folder))
"""


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_kill_after_any_table_and_a_second_run_give_the_lake_of_one_run(tmp_path: Path, number: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    append(whole, validated(whole, tables(5)))
    partition = validated(broken, tables(5))
    command = [sys.executable, "-c", KILLED_AFTER, str(broken), str(number), partition.model_dump_json()]
    killed = subprocess.run(command, cwd=Path(__file__).parents[3], timeout=60, check=False)
    assert killed.returncode == -9
    assert len(contents(broken)) == number
    append(broken, partition)
    assert contents(broken) == contents(whole)


def test_events_come_last_so_their_items_are_there(tmp_path: Path) -> None:
    partition = validated(tmp_path, tables(5))
    (Path(partition.uri) / "events.parquet").write_bytes(b"broken")
    with pytest.raises(Exception, match="parquet"):
        append(tmp_path, partition)
    assert set(contents(tmp_path)) == {"items", "users", "quarantine"}


def test_only_changed_items_are_added_to_the_history(tmp_path: Path) -> None:
    append(tmp_path, validated(tmp_path, tables(5), name="2025-01-01/2025-01-02"))
    later = tables(5, first=2000)
    moved = START.replace(day=2)
    rows = [item(0), item(1, updated_at=moved), item(2, updated_at=moved, title="New title"), item(9, updated_at=moved)]
    later[ITEMS] = pa.Table.from_pylist(rows, schema=later[ITEMS].schema)
    seen = Lake(tmp_path / "lake").versions()
    ingested = append(tmp_path, validated(tmp_path, later, name="2025-01-02/2025-01-03", raw_key="b1", seen=seen))
    assert ingested.num_appended["items"] == 2
    history = sorted((row["item_id"], row["updated_at"].day, row["title"]) for row in contents(tmp_path)[ITEMS])
    assert history[2:] == [("i2", 1, "Item 2"), ("i2", 2, "New title"), ("i3", 1, "Item 3"), ("i9", 2, "Item 9")]
    assert ingested.num_appended["users"] == 0


def test_a_partition_made_of_other_rows_than_before_is_refused(tmp_path: Path) -> None:
    append(tmp_path, validated(tmp_path, tables(5)))
    with pytest.raises(
        DataContractError, match=r"'all' of tiny is in the lake already, made of other raw rows.*START/END"
    ):
        append(tmp_path, validated(tmp_path, tables(6), raw_key="b1"))
    assert len(contents(tmp_path)[EVENTS]) == 5


def test_events_that_came_by_another_partition_after_validation_are_not_added_twice(tmp_path: Path) -> None:
    append(tmp_path, validated(tmp_path, tables(5), name="2025-01-01/2025-01-02"))
    with pytest.raises(DataContractError, match="5 events of partition 'all' came into the lake by another partition"):
        append(tmp_path, validated(tmp_path, tables(6), raw_key="b1"))
    assert len(contents(tmp_path)[EVENTS]) == 5
