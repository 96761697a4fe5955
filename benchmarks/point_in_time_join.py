"""How long, and with how much memory, are features joined to labels point in time?

    python benchmarks/point_in_time_join.py [--rows 100000 1000000] [--stores tandem bare feast]

Joins N labels to N feature rows of one view: Tandem's offline store, a bare DuckDB `ASOF` query over the same file, and
Feast's own DuckDB store, each in a process of its own. Prints seconds, peak memory, and ratios within this run. At 1M
rows Feast's store needs 8 GB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UTC_US = pa.timestamp("us", tz="UTC")
SECONDS_A_YEAR = 365 * 86_400
STORES = {
    "tandem": "pipelines.stores.asof_offline_store.AsOfOfflineStore",
    "feast": "feast.infra.offline_stores.duckdb.DuckDBOfflineStore",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--stores", nargs="+", default=["bare", "tandem", "feast"], choices=["bare", "tandem", "feast"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(Path(arguments.one), arguments.stores[0])
        return
    print(f"{'rows':>10} {'store':>8} {'seconds':>9} {'peak MB':>9} {'slower than bare':>17} {'memory':>8}")
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder), num_rows)
            results = {store: measure(Path(folder), store) for store in arguments.stores}
        report(num_rows, results)


def report(num_rows: int, results: dict[str, dict[str, float]]) -> None:
    base = results.get("bare") or next(iter(results.values()))
    for store, result in results.items():
        slower, larger = result["seconds"] / base["seconds"], result["megabytes"] / base["megabytes"]
        figures = f"{result['seconds']:9.2f} {result['megabytes']:9.0f} {slower:16.1f}x {larger:7.1f}x"
        print(f"{num_rows:>10,} {store:>8} {figures}", flush=True)
    checksums = {result["checksum"] for result in results.values()}
    if len(checksums) > 1:
        sys.exit(f"the stores joined different values: {results}")


def write_data(folder: Path, num_rows: int) -> None:
    """N labels and N feature rows of N / 100 users over a year; no two rows of a user share a moment."""
    rng = np.random.default_rng(1)
    users = np.char.add("user-", rng.integers(0, num_rows // 100, (2, num_rows)).astype(str))
    moments = rng.permutation(np.arange(2 * num_rows) * (SECONDS_A_YEAR * 1_000_000 // (2 * num_rows))).reshape(
        2, num_rows
    )
    labels = pa.table({"user_id": users[0], "event_timestamp": pa.array(moments[0]).cast(UTC_US)})
    features = {"user_id": users[1], "event_timestamp": pa.array(moments[1]).cast(UTC_US)}
    features |= {"num_events": np.arange(num_rows), "mean_value": rng.random(num_rows).astype(np.float32)}
    pq.write_table(labels, folder / "labels.parquet")
    pq.write_table(pa.table(features), folder / "features.parquet")


def measure(folder: Path, store: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(folder), "--stores", store]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def run_one(folder: Path, store: str) -> None:
    join = bare if store == "bare" else through_feast(folder, STORES[store])
    start = time.perf_counter()
    joined = join(folder)
    seconds = time.perf_counter() - start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    checksum = int(np.nansum(joined["num_events"].to_numpy(zero_copy_only=False).astype(float)))
    print(json.dumps({"seconds": seconds, "megabytes": megabytes, "checksum": checksum}))


def bare(folder: Path) -> pa.Table:
    import duckdb

    return (
        duckdb.connect()
        .sql(f"""
            SELECT label.*, feature.num_events, feature.mean_value FROM read_parquet('{folder}/labels.parquet') AS label
            ASOF LEFT JOIN read_parquet('{folder}/features.parquet') AS feature
            ON label.user_id = feature.user_id AND label.event_timestamp >= feature.event_timestamp
        """)
        .to_arrow_table()
    )


def through_feast(folder: Path, class_path: str) -> Any:
    """Return a join by a Feast offline store; what Feast does around every store alike is left out."""
    from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.importer import import_class
    from feast.types import Float32, Int64, String

    store = import_class(*class_path.rsplit(".", 1))
    kind = "duckdb" if "duckdb" in class_path else class_path
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store=None,
        offline_store={"type": kind},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    view = FeatureView(
        name="view",
        entities=[Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)],
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="num_events", dtype=Int64),
            Field(name="mean_value", dtype=Float32),
        ],
        source=FileSource(
            name="view",
            path=str(folder / "features.parquet"),
            file_format=ParquetFormat(),
            timestamp_field="event_timestamp",
        ),
    )
    registry = SimpleNamespace(list_on_demand_feature_views=lambda *args, **kwargs: [])
    references = ["view:num_events", "view:mean_value"]

    def join(folder: Path) -> pa.Table:
        labels = pq.read_table(folder / "labels.parquet")
        entities = labels if "asof" in class_path else labels.to_pandas()
        return store.get_historical_features(config, [view], references, entities, registry, "benchmark").to_arrow()

    return join


if __name__ == "__main__":
    main()
