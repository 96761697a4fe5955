from pathlib import Path
from threading import Barrier, Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipelines.data.lake import RETENTION, Lake
from pipelines.data.schemas import LAKE_SCHEMAS, TIMESTAMP
from pipelines.errors import LakeError

ROWS = pa.table({"name": ["a", "b"], "moment": pa.array([1, 2], pa.int64()).cast(TIMESTAMP)})


def test_a_table_that_was_never_written_has_no_version(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.version("events") is None
    assert lake.versions() == {}
    assert lake.transaction("events", "p") is None


def test_append_once_appends_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.append_once("events", ROWS, app_id="p")
    assert not lake.append_once("events", ROWS, app_id="p")
    assert lake.append_once("events", ROWS, app_id="q", app_version=2)
    assert lake.transaction("events", "q") == 2
    version = lake.version("events")
    assert version is not None
    assert lake.read("events", version=version).num_rows == 4


def test_a_reader_of_an_old_version_does_not_see_later_rows(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append_once("events", ROWS, app_id="p")
    before = lake.versions()["events"]
    lake.append_once("events", ROWS, app_id="q")
    assert lake.read("events", version=before).num_rows == 2
    assert len(lake.files("events", before)) == 1


def test_of_two_racing_writers_of_one_partition_one_appends(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append_once("events", ROWS, app_id="before")
    barrier, outcomes = Barrier(4), list[bool]()

    def write() -> None:
        barrier.wait()
        outcomes.append(Lake(tmp_path).append_once("events", ROWS, app_id="p"))

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert lake.read("events", version=lake.versions()["events"]).num_rows == 4


def test_overwrite_replaces_rows_and_columns_and_keeps_old_versions(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first = lake.overwrite("features/view", ROWS)
    second = lake.overwrite("features/view", ROWS.append_column("more", pa.array([1, 2])).to_reader())
    assert lake.read("features/view", version=first).column_names == ["name", "moment"]
    assert lake.read("features/view", version=second, columns=["more"]).to_pydict() == {"more": [1, 2]}


def test_files_are_literal_paths_even_below_a_folder_with_a_space(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "my lake")
    version = lake.overwrite("items", ROWS)
    assert all(Path(file).is_file() for file in lake.files("items", version))


def test_times_stay_utc_microseconds(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    version = lake.overwrite("items", ROWS)
    assert lake.read("items", version=version).schema.field("moment").type == TIMESTAMP


def test_a_stream_is_appended_without_being_held_as_a_table(tmp_path: Path) -> None:
    schema = LAKE_SCHEMAS["users"]
    batch = pa.RecordBatch.from_pylist([{"user_id": "u", "attributes": ["a=b"], "updated_at": None}], schema=schema)
    lake = Lake(tmp_path)
    assert lake.append_once("users", pa.RecordBatchReader.from_batches(schema, iter([batch, batch])), app_id="p")
    assert lake.read("users", version=lake.versions()["users"])["attributes"].to_pylist() == [["a=b"], ["a=b"]]


def test_an_unknown_version_is_refused_with_what_to_run(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.overwrite("items", ROWS)
    with pytest.raises(LakeError, match=r"no version 9.*tandem ingest-events"):
        lake.read("items", version=9)


def test_options_reach_the_object_store(tmp_path: Path) -> None:
    """A store that is not there is named by the address the options give: they were passed on."""
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "x",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "max_retries": "0", "retry_timeout": "1s",
    }  # fmt: skip
    with pytest.raises((LakeError, OSError), match=r"127\.0\.0\.1:9"):
        Lake("s3://bucket/lake", options).overwrite("items", ROWS)


def test_versions_are_kept_for_good(tmp_path: Path) -> None:
    """Delta's own default forgets a version's log after 30 days."""
    lake = Lake(tmp_path)
    lake.append_once("events", ROWS, app_id="p")
    lake.overwrite("features/x", ROWS)
    for table in ("events", "features/x"):
        kept = DeltaTable(lake.uri(table)).metadata().configuration
        assert kept["delta.logRetentionDuration"] == kept["delta.deletedFileRetentionDuration"] == RETENTION


def test_vacuum_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    versions = [lake.overwrite("x", ROWS.slice(0, n)) for n in (1, 2, 1)]
    assert lake.vacuum("x", keep=[], keep_hours=1) == [], "whoever reads a version replaced just now goes on"
    assert len(lake.vacuum("x", keep=[versions[0]], keep_hours=0)) == 1
    lake.require_files("x", versions[0])
    lake.require_files("x", versions[2])
    with pytest.raises(LakeError, match=f"version {versions[1]} .* 1 of 1 files were vacuumed"):
        lake.require_files("x", versions[1])


def test_vacuum_leaves_what_a_writer_has_not_committed_yet(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append_once("events", ROWS, app_id="p")
    lake.append_once("events", ROWS, app_id="q")
    lake.compact("events")
    uncommitted = tmp_path / "events" / "part-00000-of-a-writer.parquet"
    pq.write_table(ROWS, uncommitted)
    assert len(lake.vacuum("events", keep=[], keep_hours=0)) == 2
    assert uncommitted.exists()


def test_compaction_changes_files_and_no_row(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for app_id in ("p", "q", "r"):
        lake.append_once("events", ROWS, app_id=app_id)
    before = lake.versions()["events"]
    lake.compact("events")
    after = lake.versions()["events"]
    assert (len(lake.files("events", before)), len(lake.files("events", after))) == (3, 1)
    assert lake.read("events", version=after).num_rows == lake.read("events", version=before).num_rows == 6
    assert lake.transaction("events", "q") == 1
