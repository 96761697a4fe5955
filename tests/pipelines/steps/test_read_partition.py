import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import SourceConfig, SyntheticConfig, ValidationConfig
from pipelines.contracts import RawPartition
from pipelines.data.lake import Lake
from pipelines.errors import ConfigError, SourceError
from pipelines.settings import load_config, source_overrides
from pipelines.steps.append_partition import append_partition
from pipelines.steps.read_partition import read_partition
from pipelines.steps.validate_partition import validate_partition
from pipelines.stores.artifacts import LocalArtifacts, folder_digest
from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import FORGOTTEN_LOG, open_served

TINY = SourceConfig(synthetic=SyntheticConfig(num_events=500, num_users=40, num_items=50, num_days=5))


def read(folder: Path, source: SourceConfig = TINY, *, partition: str = "all", seed: int = 7) -> RawPartition:
    artifacts = LocalArtifacts(folder / "runs")
    return read_partition(partition, dataset="tiny", source=source, artifacts=artifacts, home=folder, seed=seed)


def test_a_partition_is_staged_and_counted(tmp_path: Path) -> None:
    raw = read(tmp_path)
    assert raw.num_rows["events"] >= 500
    for table, count in raw.num_rows.items():
        assert pq.read_metadata(Path(raw.uri) / f"{table}.parquet").num_rows == count


def test_what_decides_the_rows_decides_the_folder(tmp_path: Path) -> None:
    uris = {read(tmp_path).uri, read(tmp_path, seed=8).uri, read(tmp_path, partition="2025-06-26/2025-06-27").uri}
    assert len(uris) == 3
    assert read(tmp_path).uri in uris


def test_a_forgotten_user_does_not_come_back_with_the_source(tmp_path: Path) -> None:
    whole = Path(read(tmp_path / "before").uri)
    events = pq.read_table(whole / "events.parquet")
    victim = events["user_id"][0].as_py()
    own = pc.sum(pc.equal(events["user_id"], victim)).as_py()
    forgotten = ForgottenUsers(open_served("files", FORGOTTEN_LOG, home=tmp_path))
    forgotten.add("tiny", victim, at=datetime(2025, 7, 1, tzinfo=UTC))
    where = {"artifacts": LocalArtifacts(tmp_path / "runs"), "home": tmp_path}
    raw = read_partition("all", dataset="tiny", source=TINY, seed=7, forgotten=forgotten, **where)
    assert raw.num_rows["events"] == events.num_rows - own
    for table in ("events", "users"):
        assert victim not in pq.read_table(Path(raw.uri) / f"{table}.parquet")["user_id"].to_pylist()
    other = read_partition("all", dataset="other", source=TINY, seed=7, forgotten=forgotten, **where)
    assert other.num_rows["events"] == events.num_rows


KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from tests.pipelines.steps.test_read_partition import read
write = pq.ParquetWriter.write_batch
def dies(self, *arguments):
    write(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
pq.ParquetWriter.write_batch = dies
read(Path(sys.argv[1]))
"""


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_a_partition(tmp_path: Path) -> None:
    repository = Path(__file__).parents[3]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "a")],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    raw, other = read(tmp_path / "a"), read(tmp_path / "b")
    assert folder_digest(Path(raw.uri)) == folder_digest(Path(other.uri))


def test_an_unreadable_source_stages_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("u,i,t\nu1,i1,2025-01-01\nu1\n")
    (tmp_path / "mapping.yaml").write_text(
        "events: {file: events.csv, columns: {user_id: u, item_id: i, event_timestamp: t}}"
    )
    source = SourceConfig(kind="csv", path=tmp_path, mapping=tmp_path / "mapping.yaml")
    with pytest.raises(SourceError, match="CSV Error on Line: 3"):
        read(tmp_path, source)
    assert list((tmp_path / "runs/tiny/read_partition").iterdir()) == []
    assert (tmp_path / "events.csv").is_file()


def test_an_unknown_source_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source 'netflix' is unknown; expected one of synthetic, movielens-100k"):
        source_overrides("netflix")
    with pytest.raises(ConfigError, match=r"source.kind"):
        load_config(overrides={"source.kind": "netflix"})


def test_a_malformed_partition_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'june' is not `all` or START/END"):
        read(tmp_path, partition="june")


def ingest(
    folder: Path, source: SourceConfig, *, partition: str = "all", config: ValidationConfig | None = None
) -> Lake:
    """The whole of `ingest_events`."""
    raw, artifacts, lake = (
        read(folder, source, partition=partition),
        LocalArtifacts(folder / "runs"),
        Lake(folder / "lake"),
    )
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    validated = validate_partition(
        raw, config=config or ValidationConfig(), lake=lake, artifacts=artifacts, as_of=as_of
    )
    append_partition(validated, lake=lake, artifacts=artifacts)
    return lake


def test_day_by_day_and_all_at_once_give_the_same_events(tmp_path: Path) -> None:
    columns = ["event_id", "user_id", "item_id", "value", "event_timestamp", "ingested_at"]

    def rows(lake: Lake) -> list[dict[str, object]]:
        table = lake.read("events", version=lake.versions()["events"], columns=columns)
        return table.sort_by([("event_id", "ascending")]).to_pylist()

    whole = ingest(tmp_path / "whole", TINY)
    for partition in ("2025-06-25/2025-06-28", "2025-06-28/2025-06-30"):
        parts = ingest(tmp_path / "parts", TINY, partition=partition)
    assert rows(parts) == rows(whole)
    assert len(rows(whole)) == 500


@pytest.mark.realdata
def test_movielens_100k_comes_into_the_lake_whole(tmp_path: Path, data_folder: Path) -> None:
    lake = ingest(tmp_path, SourceConfig(kind="movielens", path=data_folder / "ml-100k"))
    versions = lake.versions()
    counts = {table: lake.read(table, version=version).num_rows for table, version in versions.items()}
    assert counts == {"events": 100_000, "items": 1_682, "users": 943, "quarantine": 0}
