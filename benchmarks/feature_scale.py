"""What do all feature tables cost, in time and memory, as events grow, on DuckDB and on Spark?

    python benchmarks/feature_scale.py [--sizes 1000000 10000000] [--engines duckdb spark] [--limit 3600]

For each size a lake of synthetic events is made (items fall off like 1 / rank, users have 150 events on about ten days
of a year, one in 20 events is late, one in 20 has no value), and each engine computes every feature table from it, in a
process of its own. Seconds run from the call to the last commit; what Spark takes to start is in a column of its own.
Memory is the largest sum of resident memory over the process and its children, Java among them, looked at five times a
second. The slope is that of log(seconds) over log(events), by least squares: 1 is proportional. An engine not done
within `--limit` seconds, or above `--memory` GiB, is ended and said so. Both engines must give equal rows: checksums
are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.config import FeatureConfig, SparkConfig
from pipelines.contracts import Snapshot
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS

ENGINES = ["duckdb", "spark"]
AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 365
EVENTS_A_USER = 150
EVENTS_A_SESSION = 15
BATCH_EVENTS = 1_500_000
CATEGORIES = [f"category-{n}" for n in range(20)]
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--limit", type=float, default=3_600, help="seconds that one process may take")
    parser.add_argument("--memory", type=float, default=12, help="GiB that one process, with its children, may use")
    parser.add_argument("--budget", default="4GB", help="DuckDB's memory, above which it spills")
    parser.add_argument("--heap", default="4g", help="Spark's memory in local mode")
    parser.add_argument("--partitions", type=int, default=0, help="of Spark's shuffles; 0: one for 100,000 events")
    parser.add_argument("--folder", help="where lakes and spills go; empty: the system's for temporary files")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(Path(arguments.one), arguments)
        return
    titles = f"{'seconds':>9} {'start':>6} {'processor':>9} {'peak MB':>9} {'events/s':>10} {'feature rows':>13}"
    print(f"{'events':>13} {'engine':>7} {titles}")
    measured: dict[str, list[tuple[int, Result]]] = {engine: [] for engine in arguments.engines}
    for num_events in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            write_lake(Path(folder), num_events)
            for engine in arguments.engines:
                result = measure(Path(folder), num_events, engine, arguments)
                print(f"{num_events:>13,} {engine:>7} {shown(num_events, result)}", flush=True)
                if "failed" not in result:
                    measured[engine].append((num_events, result))
    for engine, results in measured.items():
        if len(results) > 1:
            slopes = {name: slope(results, name) for name in ("seconds", "processor", "megabytes")}
            print(f"slope of {engine}: " + ", ".join(f"{name} {value:.2f}" for name, value in slopes.items()))
    require_equal(measured)


def shown(num_events: int, result: Result) -> str:
    if "failed" in result:
        return f"{'-':>9} {'-':>6} {'-':>9} {'-':>9} {'-':>10}  {result['failed']}"
    figures = f"{result['seconds']:9.1f} {result['start']:6.1f} {result['processor']:9.1f} {result['megabytes']:9.0f}"
    return f"{figures} {num_events / result['seconds']:10,.0f} {result['rows']:13,}"


def slope(results: list[tuple[int, Result]], name: str) -> float:
    sizes, values = zip(*((size, result[name]) for size, result in results), strict=True)
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def require_equal(measured: dict[str, list[tuple[int, Result]]]) -> None:
    found: dict[int, set[str]] = {}
    for results in measured.values():
        for size, result in results:
            found.setdefault(size, set()).add(json.dumps(result["checksums"]))
    different = [size for size, sums in found.items() if len(sums) > 1]
    if different:
        sys.exit(f"the engines computed different rows of {different} events: {found}")


def write_lake(folder: Path, num_events: int) -> None:
    """Make the lake: events batch by batch, and the items and users that they name."""
    num_users, num_items = max(num_events // EVENTS_A_USER, 10), min(max(num_events // 100, 100), 200_000)
    lake = Lake(folder / "lake")
    early = AS_OF - timedelta(days=DAYS + 1)
    rng = np.random.default_rng(1)
    items, users = names("item", np.arange(num_items)), names("user", np.arange(num_users))
    drawn = pa.array(CATEGORIES).take(pa.array(rng.integers(0, len(CATEGORIES), 2 * num_items)))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * num_items + 1, 2), pa.int32()), drawn)
    then = pa.array(np.full(num_items, np.datetime64(early.replace(tzinfo=None), "us")), pa.timestamp("us", tz="UTC"))
    schema = LAKE_SCHEMAS["items"]
    lake.overwrite("items", whole({"item_id": items, "title": items, "categories": lists, "updated_at": then}, schema))
    then = pa.array(np.full(num_users, np.datetime64(early.replace(tzinfo=None), "us")), pa.timestamp("us", tz="UTC"))
    lake.overwrite("users", whole({"user_id": users, "updated_at": then}, LAKE_SCHEMAS["users"]))
    schema = LAKE_SCHEMAS["events"]
    batches = event_batches(num_events, num_users, num_items, schema)
    lake.overwrite("events", pa.RecordBatchReader.from_batches(schema, batches))


def event_batches(num_events: int, num_users: int, num_items: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Events of session after session: each is one user's, a few minutes of one day; items fall off like 1 / rank."""
    year_us, minute_us = DAYS * 86_400_000_000, 60_000_000
    first = int((AS_OF - timedelta(days=DAYS)).timestamp()) * 1_000_000
    for start in range(0, num_events, BATCH_EVENTS):
        number = np.arange(start, min(start + BATCH_EVENTS, num_events))
        rng = np.random.default_rng([2, start])
        num_sessions = len(number) // EVENTS_A_SESSION + 1
        session = np.arange(len(number)) // EVENTS_A_SESSION
        at = first + rng.integers(0, year_us - 86_400_000_000, num_sessions)[session]
        at += (np.arange(len(number)) % EVENTS_A_SESSION) * minute_us
        late = (rng.random(len(number)) < 0.05) * rng.integers(0, 86_400_000_000, len(number))
        rank = np.floor(np.exp(rng.random(len(number)) * np.log(num_items))).astype(np.int64) - 1
        values = pa.array(rng.integers(1, 11, len(number)) / 2, mask=rng.random(len(number)) < 0.05)
        columns = {
            "event_id": names("e", number),
            "user_id": names("user", rng.integers(0, num_users, num_sessions)[session]),
            "item_id": names("item", rank),
            "event_type": pa.repeat("rating", len(number)),
            "value": values,
            "event_timestamp": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
            "ingested_at": pa.array(at + late).cast(pa.timestamp("us", tz="UTC")),
            "source_partition": pa.repeat("all", len(number)),
        }
        yield from whole(columns, schema).to_batches()


def names(kind: str, numbers: np.ndarray) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(kind, pa.array(numbers).cast(pa.string()), "-")


def whole(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """A table of `schema` in which columns that are not given are null."""
    num_rows = len(next(iter(columns.values())))
    return pa.table([columns.get(field.name, pa.nulls(num_rows, field.type)) for field in schema], schema=schema)


def measure(folder: Path, num_events: int, engine: str, arguments: argparse.Namespace) -> Result:
    command = [sys.executable, __file__, "--one", str(folder), "--engines", engine]
    command += ["--budget", arguments.budget, "--heap", arguments.heap]
    command += ["--partitions", str(arguments.partitions or max(num_events // 100_000, 4))]
    with open(folder / f"{engine}.log", "w+") as log:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        usage = Usage(started.pid)
        failed = usage.follow(started, arguments)
        out = started.communicate()[0]
        log.seek(0)
        error = (log.read().strip().splitlines() or ["ended"])[-1]
    if failed or started.returncode:
        return {"failed": failed or error[:160]}
    result: Result = json.loads(out.splitlines()[-1])
    sums = {name: checksum(Lake(folder / "lake"), name, version) for name, version in result["versions"].items()}
    return result | {"megabytes": usage.peak / 2**20, "processor": usage.processor, "checksums": sums}


class Usage:
    """Memory and processor time of a process and all below it."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seconds: dict[int, float] = {}
        self.peak = 0

    @property
    def processor(self) -> float:
        """Seconds of processor time so far."""
        return sum(self._seconds.values())

    def follow(self, started: "subprocess.Popen[str]", arguments: argparse.Namespace) -> str:
        """Look until the process ends; end it, and say so, where it takes too much."""
        begin = time.monotonic()
        while started.poll() is None:
            self._look()
            too_long = time.monotonic() - begin > arguments.limit
            if too_long or self.peak > arguments.memory * 2**30:
                for process in self._tree():
                    process.kill()
                return f"not done after {arguments.limit:.0f} s" if too_long else f"above {arguments.memory:g} GiB"
            time.sleep(0.2)
        return ""

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _look(self) -> None:
        resident = 0
        for process in self._tree():
            try:
                resident += process.memory_info().rss
                self._seconds[process.pid] = sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        self.peak = max(self.peak, resident)


def run_one(folder: Path, arguments: argparse.Namespace) -> None:
    from pipelines.features.compute import write_feature_tables
    from pipelines.stores.spark_session import open_session, session_conf

    engine, lake, scratch = arguments.engines[0], Lake(folder / "lake"), folder / f"scratch-{arguments.engines[0]}"
    spark = SparkConfig(driver_memory=arguments.heap, shuffle_partitions=arguments.partitions)
    config = FeatureConfig(engine=engine, spark=spark, memory_limit=arguments.budget)
    snapshot = Snapshot(dataset="scale", snapshot_id="s", as_of=AS_OF, versions=lake.versions())
    begin = time.perf_counter()
    if engine == "spark":
        open_session(session_conf(spark, scratch))
    start = time.perf_counter() - begin
    versions, num_rows = write_feature_tables(snapshot, config=config, delay_seconds=0.0, lake=lake, scratch=scratch)
    seconds = time.perf_counter() - begin - start
    print(json.dumps({"seconds": seconds, "start": start, "rows": sum(num_rows.values()), "versions": versions}))


def checksum(lake: Lake, name: str, version: int) -> str:
    """A digest of a table's rows, whatever their order and files."""
    import duckdb

    files = lake.files(f"features/{name}", version)
    rows = duckdb.connect(config={"threads": 2}).read_parquet(files)
    columns = ", ".join(f'"{column}"' for column in sorted(rows.columns))
    return str(rows.query("rows", f"SELECT sum(hash({columns})::HUGEINT), count(*) FROM rows").fetchall()[0])


if __name__ == "__main__":
    main()
