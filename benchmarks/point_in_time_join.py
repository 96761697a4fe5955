"""How long, and with how much memory, are features joined to labels point in time?

    python benchmarks/point_in_time_join.py [--rows 100000 1000000] [--views 1 3] [--stores bare tandem ...]

Joins N labels to N feature rows of each of V views, all stores on the same files in one run, each in a process of its
own: a bare DuckDB `ASOF` query, Tandem's offline store (the result in memory, or written to a file batch by batch),
Feast's own DuckDB and dask stores, and polars' `join_asof` where polars is installed (it is no dependency). A process
that would need more than `--memory` GiB or `--limit` seconds is ended and reported so. Seconds run from the call to
the joined rows, with what a store does first (fixed costs of Feast, modules that are imported late); a store's module
and DuckDB or polars are imported before. Processor seconds are those of all its threads, which other work disturbs
less; memory is the peak of the process.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UTC_US = pa.timestamp("us", tz="UTC")
SECONDS_A_YEAR = 365 * 86_400
TANDEM = "pipelines.stores.asof_offline_store.AsOfOfflineStore"
STORES = ["bare", "tandem", "tandem-file", "polars", "feast-duckdb", "feast-dask"]
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--views", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    parser.add_argument("--memory", type=float, default=10, help="GiB that one process may use")
    parser.add_argument("--limit", type=float, default=600, help="seconds that one process may take")
    parser.add_argument("--budget", default="2GB", help="memory budget of Tandem's store")
    parser.add_argument("--repeat", type=int, default=1, help="processes a store; the fastest is reported")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(Path(arguments.one), arguments)
        return
    columns = f"{'processor s':>11} {'peak MB':>9} {'slower than bare':>17} {'memory':>8} {'rows':>11}"
    print(f"{'rows':>10} {'views':>5} {'store':>13} {'seconds':>9} {columns}")
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder), num_rows, max(arguments.views))
            for num_views in arguments.views:
                measure_all(Path(folder), num_rows, num_views, arguments)


def measure_all(folder: Path, num_rows: int, num_views: int, arguments: argparse.Namespace) -> None:
    base: Result | None = None
    checksums = {}
    for store in arguments.stores:
        results = [measure(folder, store, num_views, arguments) for _ in range(arguments.repeat)]
        result = min(results, key=lambda result: result.get("seconds", 0))
        head = f"{num_rows:>10,} {num_views:>5} {store:>13}"
        if "failed" in result:
            print(f"{head} {'-':>9} {'-':>11} {'-':>9}  {result['failed']}", flush=True)
            continue
        base = base or result
        slower, larger = result["seconds"] / base["seconds"], result["megabytes"] / base["megabytes"]
        figures = f"{result['seconds']:9.2f} {result['processor']:11.2f} {result['megabytes']:9.0f}"
        print(f"{head} {figures} {slower:16.1f}x {larger:7.1f}x {result['rows']:>11,}", flush=True)
        if result["rows"] == num_rows:
            checksums[store] = result["checksum"]
    if len(set(checksums.values())) > 1:
        sys.exit(f"the stores joined different values: {checksums}")


def write_data(folder: Path, num_rows: int, num_views: int) -> None:
    """N labels and, for each view, N feature rows of N / 100 users over a year; no two of a user share a moment."""
    rng = np.random.default_rng(1)
    step = SECONDS_A_YEAR * 1_000_000 // (2 * num_rows)
    moments = rng.permutation(np.arange(2 * num_rows) * step).reshape(2, num_rows)
    users = [f"user-{n}" for n in range(num_rows // 100)]
    names = pa.array(users)

    def some_users() -> pa.Array:
        return names.take(pa.array(rng.integers(0, len(users), num_rows)))

    labels = {"user_id": some_users(), "event_timestamp": pa.array(moments[0]).cast(UTC_US)}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    for view in range(num_views):
        features = {"user_id": some_users(), "event_timestamp": pa.array(moments[1]).cast(UTC_US)}
        features |= {f"num_{view}": np.arange(num_rows), f"mean_{view}": rng.random(num_rows).astype(np.float32)}
        pq.write_table(pa.table(features), folder / f"features_{view}.parquet")


def measure(folder: Path, store: str, num_views: int, arguments: argparse.Namespace) -> Result:
    command = [sys.executable, __file__, "--one", str(folder), "--stores", store, "--views", str(num_views)]
    command += ["--memory", str(arguments.memory), "--budget", arguments.budget]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=arguments.limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {arguments.limit:.0f} s"}
    if done.returncode:
        error = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
        return {"failed": f"on {arguments.memory:g} GiB: {error[:160]}"}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def run_one(folder: Path, arguments: argparse.Namespace) -> None:
    store, num_views = arguments.stores[0], arguments.views[0]
    limit = int(arguments.memory * 2**30)
    # Data, not address space: libraries reserve far more of that than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    importlib.import_module("polars" if store == "polars" else "duckdb")
    joins: dict[str, Callable[[Path, int], Any]] = {"bare": bare, "polars": through_polars}
    join = joins.get(store) or through_feast(folder, store, arguments.budget)
    start, busy = time.perf_counter(), time.process_time()
    joined = join(folder, num_views)
    spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    checksum = int(np.nansum(joined[f"num_{num_views - 1}"].to_numpy().astype(float)))
    print(json.dumps({**spent, "megabytes": megabytes, "checksum": checksum, "rows": len(joined)}))


def bare(folder: Path, num_views: int) -> pa.Table:
    import duckdb

    columns = ", ".join(f"num_{view}, mean_{view}" for view in range(num_views))
    joins = "".join(
        f" ASOF LEFT JOIN read_parquet('{folder}/features_{view}.parquet') AS view_{view}"
        f" ON label.user_id = view_{view}.user_id AND label.event_timestamp >= view_{view}.event_timestamp"
        for view in range(num_views)
    )
    query = f"SELECT label.*, {columns} FROM read_parquet('{folder}/labels.parquet') AS label {joins}"
    return duckdb.connect().sql(query).to_arrow_table()


def through_polars(folder: Path, num_views: int) -> Any:
    import polars

    # `join_asof` wants both sides in order of time; the labels' own order is restored.
    joined = polars.read_parquet(folder / "labels.parquet").with_row_index().sort("event_timestamp")
    for view in range(num_views):
        features = polars.read_parquet(folder / f"features_{view}.parquet").sort("event_timestamp")
        joined = joined.join_asof(features, on="event_timestamp", by="user_id")
    return joined.sort("index")


def through_feast(folder: Path, store: str, budget: str) -> Callable[[Path, int], Any]:
    """Return a join by a Feast offline store; what Feast does around every store alike is left out."""
    from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.importer import import_class
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
    from feast.types import Float32, Int64, String

    paths = {
        "feast-duckdb": ("duckdb", "feast.infra.offline_stores.duckdb.DuckDBOfflineStore"),
        "feast-dask": ("dask", "feast.infra.offline_stores.dask.DaskOfflineStore"),
    }
    kind, class_path = paths.get(store, (TANDEM, TANDEM))
    budgets = {"memory_limit": budget, "temp_directory": str(folder / "spill")} if kind == TANDEM else {}
    offline_store = import_class(*class_path.rsplit(".", 1))
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store=None,
        offline_store={"type": kind, **budgets},
        entity_key_serialization_version=3,
        repo_path=folder,
    )

    def view(number: int) -> Any:
        return FeatureView(
            name=f"view_{number}",
            entities=[Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)],
            schema=[
                Field(name="user_id", dtype=String),
                Field(name=f"num_{number}", dtype=Int64),
                Field(name=f"mean_{number}", dtype=Float32),
            ],
            source=FileSource(
                name=f"view_{number}",
                path=str(folder / f"features_{number}.parquet"),
                file_format=ParquetFormat(),
                timestamp_field="event_timestamp",
            ),
        )

    registry = SimpleNamespace(list_on_demand_feature_views=lambda *args, **kwargs: [])

    def join(folder: Path, num_views: int) -> Any:
        references = [f"view_{number}:{name}_{number}" for number in range(num_views) for name in ("num", "mean")]
        labels = folder / "labels.parquet"
        entities: Any = f"SELECT * FROM read_parquet('{labels}')" if store == "tandem-file" else pq.read_table(labels)
        entities = entities if kind == TANDEM else entities.to_pandas()
        views = [view(number) for number in range(num_views)]
        job = offline_store.get_historical_features(config, views, references, entities, registry, "benchmark")
        if store != "tandem-file":
            return job.to_df() if store == "feast-dask" else job.to_arrow()
        target = folder / "joined.parquet"
        job.persist(SavedDatasetFileStorage(str(target)), allow_overwrite=True)
        return pq.read_table(target, columns=[f"num_{num_views - 1}"])

    return join


if __name__ == "__main__":
    main()
