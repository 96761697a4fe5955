"""Do DuckDB and Spark compute equal features, and join them equally, on the whole of MovieLens-1M?

    TANDEM_DATA=folder python benchmarks/engines_equal.py [--labels-at-once 500000]

Computes every feature table of all events by each engine and compares the rows, each as often as it is there, to the
last bit; then joins the features of the ranking model to every event, point in time, by each engine, and compares row
by row, in order. `TANDEM_DATA` has MovieLens-1M in `ml-1m`. Prints a line a table and ends with 1 if a row differs.
The tests do the same on a sample (`tests/pipelines/test_spark.py`); this takes minutes and up to 5 GB of memory.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.config import FeatureConfig, SparkConfig
from pipelines.contracts import FeatureSet, Snapshot
from pipelines.data.lake import Lake
from pipelines.features.compute import write_feature_tables
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.sources.movielens import MovieLensSource
from pipelines.stores.feature_store import FeatureStore

DATASET, SERVICE = "movielens-1m", "ranking_v1"
KEYS = ["user_id", "item_id", "event_timestamp"]
SPARK = SparkConfig(master="local[2]", driver_memory="2g", shuffle_partitions=8)
ENGINES = {"duckdb": FeatureConfig(), "spark": FeatureConfig(engine="spark", spark=SPARK)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels-at-once", type=int, default=500_000, help="labels that one join gets")
    parser.add_argument("--folder", help="where lakes and spills go; empty: the system's for temporary files")
    arguments = parser.parse_args()
    data = os.environ.get("TANDEM_DATA") or sys.exit("TANDEM_DATA is not set; expected the folder that has ml-1m")
    raw = MovieLensSource(Path(data) / "ml-1m").read("all")
    tables = {name: getattr(raw, name).read_all() for name in ("events", "items", "users")}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        homes = {engine: Path(folder) / engine for engine in ENGINES}
        features = {engine: compute(home, engine, tables) for engine, home in homes.items()}
        different = [name for name in FEATURE_TABLES if not equal_tables(homes, features, name)]
        labels = tables["events"].select(KEYS)
        different += [] if equal_joins(homes, features, labels, arguments.labels_at_once) else [SERVICE]
    if different:
        sys.exit(f"the engines differ in {', '.join(different)}")


def compute(home: Path, engine: str, tables: dict[str, pa.Table]) -> FeatureSet:
    lake = Lake(home / "lake" / DATASET)
    for name, rows in tables.items():
        if name == "events":
            rows = rows.append_column("source_partition", pa.array(["all"] * rows.num_rows))
        lake.overwrite(name, rows)
    newest = pc.max(tables["events"]["event_timestamp"]).as_py()
    snapshot = Snapshot(dataset=DATASET, snapshot_id="all", as_of=newest + timedelta(days=1), versions=lake.versions())
    start = time.perf_counter()
    versions, num_rows = write_feature_tables(
        snapshot, config=ENGINES[engine], delay_seconds=0.0, lake=lake, scratch=home / "scratch"
    )
    print(f"{engine}: {sum(num_rows.values()):,} feature rows in {time.perf_counter() - start:.0f} s", flush=True)
    return FeatureSet(snapshot=snapshot, versions=versions, num_rows=num_rows)


def equal_tables(homes: dict[str, Path], features: dict[str, FeatureSet], name: str) -> bool:
    """Whether both engines wrote the same rows, in whatever order."""
    table = FEATURE_TABLES[name]
    connection = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(homes["duckdb"] / "scratch")})
    for engine, home in homes.items():
        files = Lake(home / "lake" / DATASET).files(table.lake_table, features[engine].versions[name])
        connection.read_parquet(files).create_view(engine)
    # Numbers as text have all their digits; a row that is there twice must be there twice in both.
    rows = "SELECT COLUMNS(*)::VARCHAR FROM"
    missing = [
        connection.sql(f"SELECT count(*) FROM ({rows} {a} EXCEPT ALL {rows} {b})").fetchall()[0][0]
        for a, b in (("duckdb", "spark"), ("spark", "duckdb"))
    ]
    counted = " and ".join(f"{num:,} of {engine} alone" for num, engine in zip(missing, homes, strict=True))
    print(f"{name}: {features['duckdb'].num_rows[name]:,} rows, {counted}", flush=True)
    return not any(missing)


def equal_joins(homes: dict[str, Path], features: dict[str, FeatureSet], labels: pa.Table, at_once: int) -> bool:
    """Whether every label gets the same features from both engines, in the labels' order."""
    stores = {engine: store_of(home, engine) for engine, home in homes.items()}
    for store in stores.values():
        store.apply()
    equal = True
    for start in range(0, labels.num_rows, at_once):
        part = labels.slice(start, at_once)
        joined: list[Any] = []
        for engine, store in stores.items():
            begun = time.perf_counter()
            joined.append(store.historical(part, SERVICE, features=features[engine]))
            print(f"{engine}: {part.num_rows:,} labels joined in {time.perf_counter() - begun:.0f} s", flush=True)
        # DuckDB calls the time zone of a moment Etc/UTC, Spark UTC.
        different = [
            name
            for name in joined[0].column_names
            if not joined[0][name].cast(joined[1][name].type).equals(joined[1][name])
        ]
        if different or joined[0].num_rows != part.num_rows:
            print(f"labels from {start:,}: {', '.join(different) or 'number of rows'} differ", flush=True)
            equal = False
    features_joined = len(joined[0].column_names) - len(KEYS)
    print(f"{SERVICE}: {labels.num_rows:,} labels x {features_joined} features, {'equal' if equal else 'DIFFERENT'}")
    return equal


def store_of(home: Path, engine: str) -> FeatureStore:
    spark = SPARK if engine == "spark" else None
    return FeatureStore(home=home, dataset=DATASET, lake_uri=str(home / "lake" / DATASET), spark=spark)


if __name__ == "__main__":
    main()
