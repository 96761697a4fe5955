"""Served events come into the lake exactly once, whatever is killed on the way."""

import json
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from pipelines.config import REPOSITORY, ValidationConfig
from pipelines.contracts import EVENTS, ITEMS, QUARANTINE, USERS, Drain, IngestedPartition
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import DataContractError, LakeError
from pipelines.steps.append_partition import append_partition
from pipelines.steps.finish_drain import finish_drain
from pipelines.steps.seal_events import seal_events
from pipelines.steps.validate_partition import validate_partition
from pipelines.stores.artifacts import LocalArtifacts
from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import EVENT_LOG, FORGOTTEN_LOG, UNASSIGNED, UNREADABLE, open_served
from pipelines.stores.served_files import ServedFiles
from pipelines.stores.served_streams import ServedStreams
from tests.contracts.served_log import record
from tests.support.redis_server import SERVER, killable_redis, redis_server

KEEP = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)

needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


class NoReport:
    """Stands in for the Data Docs, which take most of a validation's time and decide nothing."""

    def __init__(self, folder: Path, **named: Any) -> None:
        folder.mkdir(parents=True)

    def table(self, *arguments: Any) -> None: ...

    def partition(self, rules: Any) -> None: ...

    def build(self) -> None: ...


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("pipelines.data.expectations")
    stand_in.Report = NoReport  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "pipelines.data.expectations", stand_in)


class Platform:
    """A home with a lake of two items and a user, and its event log: in files, or in the Redis of an address."""

    def __init__(self, home: Path, *, fill: bool = True, address: str = "") -> None:
        self.home = home
        self.log: Any = ServedStreams(address, EVENT_LOG) if address else ServedFiles(home / "serving" / "events")
        self.where: dict[str, Any] = {"lake": Lake(home / "lake"), "artifacts": LocalArtifacts(home / "runs")}
        if fill:
            items = [{"item_id": name, "title": name, "updated_at": START} for name in ("i", "j")]
            users = [{"user_id": "u", "attributes": ["age=3"], "updated_at": START}]
            for table, rows in ((ITEMS, items), (USERS, users)):
                self.where["lake"].overwrite(table, pa.Table.from_pylist(rows, LAKE_SCHEMAS[table]))

    def post(self, *ids: str, name: str = "tiny", **other: Any) -> None:
        self.log.append(name, [record(id_, **other) for id_ in ids])

    def seal(self) -> Drain:
        return seal_events("tiny", log=self.log, **self.where)

    def drain(self, **validation: Any) -> tuple[Drain, IngestedPartition | None]:
        drain = self.seal()
        if drain.raw is None or drain.batch is None:
            return drain, None
        config = ValidationConfig(**validation)
        validated = validate_partition(drain.raw, config=config, as_of=drain.batch.until, **self.where)
        ingested = append_partition(validated, **self.where)
        return drain, finish_drain(drain, ingested, keep=KEEP, keep_runs=KEEP, log=self.log, **self.where)

    def rows(self, table: str) -> list[dict[str, Any]]:
        lake = self.where["lake"]
        return [] if lake.version(table) is None else lake.read(table, version=lake.version(table)).to_pylist()

    def ids(self) -> list[str]:
        return sorted(row["event_id"] for row in self.rows(EVENTS))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    found = Platform(tmp_path)
    yield found
    found.log.close()


def test_events_come_into_the_lake_as_the_log_stamped_them(platform: Platform) -> None:
    (posted,) = platform.log.append("tiny", [record("a", value=2.5, device="tv")])
    drain, ingested = platform.drain()
    assert ingested is not None
    assert ingested.num_appended == {"items": 0, "users": 0, "quarantine": 0, "events": 1}
    (row,) = platform.rows(EVENTS)
    assert row["ingested_at"] == datetime.fromisoformat(posted["ingested_at"])
    assert (row["value"], row["device"], row["session_id"]) == (2.5, "tv", None)
    assert drain.batch is not None
    assert row["source_partition"] == drain.batch.partition


def test_batches_follow_each_other_and_nothing_new_is_no_batch(platform: Platform) -> None:
    platform.post("a")
    platform.drain()
    assert platform.drain() == (Drain(batch=None, raw=None), None)
    platform.post("b")
    drain, _ = platform.drain()
    assert drain.batch is not None
    assert drain.batch.number == 2
    assert platform.ids() == ["a", "b"]


def test_a_new_user_comes_along_and_a_known_one_keeps_his_attributes(platform: Platform) -> None:
    platform.post("a", user_id="new")
    platform.post("b", user_id="u")
    platform.drain()
    users = {row["user_id"]: row["attributes"] for row in platform.rows(USERS)}
    assert users == {"u": ["age=3"], "new": []}
    assert len(platform.rows(USERS)) == 2
    assert platform.ids() == ["a", "b"]


def test_what_breaks_a_rule_is_quarantined_and_holds_nothing_up(platform: Platform) -> None:
    strict = {"new_columns": "stop", "missing_columns": "stop", "retyped_columns": "stop"}
    platform.post("good")
    platform.post("bad", item_id="unheard of")
    platform.post("good")  # sent to another process, which did not know the id
    file = next((platform.home / "serving" / "events" / "tiny").glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b"\x00garbage\n")
    platform.drain(**strict)
    assert platform.ids() == ["good"]
    rejected = {row["rule"]: json.loads(row["raw_row"]) for row in platform.rows(QUARANTINE)}
    assert set(rejected) == {"unknown_item", "duplicate_event_id", "missing_event_id"}
    assert rejected["missing_event_id"][UNREADABLE] == "\x00garbage"


def test_a_large_batch_of_mostly_bad_events_is_refused_and_stays(platform: Platform) -> None:
    platform.post("a", "b")
    platform.post("c", item_id="unheard of")
    with pytest.raises(DataContractError, match="too_many_quarantined_events"):
        platform.drain(min_served_events=3)
    platform.post("d")
    drain, _ = platform.drain(min_served_events=3, max_quarantined_share=1.0)
    assert drain.batch is not None
    assert drain.batch.number == 1
    assert platform.ids() == ["a", "b"]
    platform.drain()
    assert platform.ids() == ["a", "b", "d"]


def test_events_of_no_data_set_yet_go_to_the_one_that_is_drained(platform: Platform) -> None:
    platform.post("early", name=UNASSIGNED)
    platform.post("other", name="another")
    platform.post("a")
    platform.drain()
    platform.drain()
    assert platform.ids() == ["a", "early"], "one log a run"
    assert platform.log.waiting("another")


def test_a_log_restored_from_a_backup_repeats_nothing_and_loses_nothing(platform: Platform) -> None:
    import shutil

    folder = platform.home / "serving" / "events"
    platform.post("a")
    platform.seal()
    shutil.copytree(folder, platform.home / "backup")
    platform.drain()
    platform.post("b")
    platform.drain()
    shutil.rmtree(folder)
    shutil.copytree(platform.home / "backup", folder)
    platform.drain()  # batch 1 again: it is in the lake
    platform.post("c")
    drain, _ = platform.drain()
    assert drain.batch is not None
    assert drain.batch.number == 3, "a number that is in the lake already would be taken for done"
    assert platform.ids() == ["a", "b", "c"]


def test_a_batch_that_is_not_in_the_lake_is_not_given_up(platform: Platform) -> None:
    platform.post("a")
    drain = platform.seal()
    claimed = IngestedPartition(dataset="tiny", partition="x", versions={}, num_appended={})
    with pytest.raises(LakeError, match="it is kept"):
        finish_drain(drain, claimed, keep=KEEP, keep_runs=KEEP, log=platform.log, **platform.where)
    assert platform.seal() == drain


def test_staged_rows_of_old_batches_are_deleted(platform: Platform) -> None:
    for name in "ab":
        platform.post(name)
        drain, ingested = platform.drain()
    assert ingested is not None
    folders = [platform.home / "runs" / "tiny" / "served" / kind for kind in ("raw", "validated")]
    assert [len(list(folder.iterdir())) for folder in folders] == [2, 2]
    finish_drain(drain, ingested, keep=KEEP, keep_runs=timedelta(0), log=platform.log, **platform.where)
    assert [len(list(folder.iterdir())) for folder in folders] == [0, 0]


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def on_redis(tmp_path: Path, redis_address: str) -> Iterator[Platform]:
    client = redis.Redis.from_url(redis_address)
    client.flushdb()
    client.close()
    found = Platform(tmp_path, address=redis_address)
    yield found
    found.log.close()


DIES = """
import os, signal, sys, types
from pathlib import Path
import redis
from pipelines.data.lake import Lake
from pipelines.stores import served_files
from pipelines.stores.served_streams import ServedStreams
from tests.pipelines.steps.test_drain import NoReport, Platform

stand_in = sys.modules["pipelines.data.expectations"] = types.ModuleType("pipelines.data.expectations")
stand_in.Report = NoReport
home, address, where, number, calls = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), []
owner, name = {
    "append": (Lake, "append_once"),
    "write": (served_files, "_write"),
    "stage": (os, "rename"),
    "claim": (ServedStreams, "claim"),
    "transaction": (redis.Redis, "transaction"),
    "release": (ServedStreams, "release"),
}[where]
real = getattr(owner, name)

def dies(*arguments, **named):
    done = real(*arguments, **named)
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(owner, name, dies)
Platform(home, fill=False, address=address).drain()
"""


def drain_killed(platform: Platform, where: str, number: int, *, address: str = "") -> None:
    """Post events, kill a process that drains them after call `number` of `where`, drain again."""
    platform.post("a", "b")
    platform.post("c", user_id="new")
    platform.post("bad", item_id="unheard of")
    command = [sys.executable, "-c", DIES, str(platform.home), address, where, str(number)]
    killed = subprocess.run(command, cwd=REPOSITORY, timeout=120, check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    platform.post("later")
    platform.drain()
    platform.drain()
    assert platform.ids() == ["a", "b", "c", "later"]
    assert sorted(row["user_id"] for row in platform.rows(USERS)) == ["new", "u"]
    assert [row["rule"] for row in platform.rows(QUARANTINE)] == ["unknown_item"]
    assert not platform.log.waiting("tiny")


@pytest.mark.parametrize(
    ("where", "number"),
    [("write", 2), ("stage", 1), ("append", 1), ("append", 4), ("write", 3)],
    ids=["claimed", "staged", "first-table", "all-tables", "half-released"],
)
def test_a_drain_killed_anywhere_and_run_again_gives_the_lake_of_one_run(
    platform: Platform, where: str, number: int
) -> None:
    drain_killed(platform, where, number)


@needs_redis
@pytest.mark.parametrize(
    ("where", "number"),
    [("claim", 1), ("stage", 1), ("append", 1), ("append", 4), ("transaction", 2), ("release", 1)],
    ids=["claimed", "staged", "first-table", "all-tables", "untrimmed", "released"],
)
def test_a_drain_of_redis_killed_anywhere_and_run_again_gives_the_lake_of_one_run(
    on_redis: Platform, redis_address: str, where: str, number: int
) -> None:
    drain_killed(on_redis, where, number, address=redis_address)


@needs_redis
def test_a_redis_killed_under_a_drain_gives_each_event_once(tmp_path: Path) -> None:
    with killable_redis(tmp_path) as server:
        platform = Platform(tmp_path, address=server.address)
        platform.post("a", "b")
        drain = platform.seal()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            platform.drain()
        server.start()
        platform.post("c")
        assert platform.seal() == drain
        platform.drain()
        server.kill()
        server.start()
        platform.drain()
        platform.log.close()
    assert platform.ids() == ["a", "b", "c"]
    assert not platform.rows(QUARANTINE), "nothing came in twice"


def test_events_of_the_forgotten_do_not_come_in(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    forgotten = ForgottenUsers(open_served("files", FORGOTTEN_LOG, home=tmp_path))
    forgotten.add("tiny", "v", at=START)
    platform.post("a")
    platform.post("b", user_id="v")  # serving had not learned of it yet
    platform.log.append("tiny", [{"event_id": "c"}])
    drain = seal_events("tiny", log=platform.log, forgotten=forgotten, **platform.where)
    assert drain.raw is not None
    staged = pq.read_table(Path(drain.raw.uri) / "events.parquet")
    assert staged["event_id"].to_pylist() == ["a", "c"]
    assert drain.raw.num_rows["users"] == 0
    platform.log.close()
