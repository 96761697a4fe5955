"""How fast do features reach the online store, and with how much memory?

    python benchmarks/materialize.py [--users 20000] [--stores sqlite redis postgres] [--engines tandem feast]
    python benchmarks/materialize.py --users 1000000 --stores redis --engines tandem

Materializes N users x 20 features (10 floats, 8 integers, 2 strings) of one Parquet file by Tandem's engine and stores,
and by Feast's own local engine and stores on a part of the users, each in a process of its own on an empty store: a
Redis started for it, a database created for it. Prints rows a second, processor seconds of all threads (not those of
servers) and peak memory of the process, and ratios within this run; then the audit, and the same feature set a second
time. PostgreSQL must listen on 127.0.0.1:5432.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.servers import postgres_database, redis_server

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
CHUNK = 100_000
FLOATS, INTEGERS, STRINGS = [f"f{n}" for n in range(10)], [f"i{n}" for n in range(8)], [f"s{n}" for n in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--feast-users", type=int, default=2_000, help="users that Feast's own engine gets")
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis", "postgres"])
    parser.add_argument("--engines", nargs="+", default=["feast", "tandem"], choices=["feast", "tandem"])
    parser.add_argument("--no-audit", action="store_true", help="leave out the audit and the second time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(json.loads(arguments.one))
        return
    head = f"{'store':>9} {'engine':>7} {'users':>10} {'seconds':>8} {'processor s':>11} {'users/s':>9}"
    print(f"{head} {'peak MB':>8} {'faster':>7} {'audit s':>8} {'again s':>8}")
    for store in arguments.stores:
        base = None
        for engine in arguments.engines:
            num_users = arguments.users if engine == "tandem" else arguments.feast_users
            result = measure(store, engine, num_users, audit=not arguments.no_audit)
            rate = num_users / result["seconds"]
            base = base or (rate if engine == "feast" else None)
            faster = f"{rate / base:6.1f}x" if base else ""
            figures = f"{num_users:>10,} {result['seconds']:8.2f} {result['processor']:11.2f} {rate:9,.0f}"
            figures += f" {result['megabytes']:8.0f} {faster:>7}"
            after = f"{result['audit']:8.2f} {result['again']:8.2f}" if "audit" in result else ""
            print(f"{store:>9} {engine:>7} {figures} {after}", flush=True)


def measure(store: str, engine: str, num_users: int, *, audit: bool) -> dict[str, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_data(folder / "features.parquet", num_users)
        place: Any = folder
        if store == "redis":
            place = stack.enter_context(redis_server(folder))
        elif store == "postgres":
            place = stack.enter_context(postgres_database())
        given: dict[str, Any] = {
            "folder": str(folder),
            "store": store,
            "engine": engine,
            "place": str(place),
            "num_users": num_users,
        }
        given["audit"] = audit
        command = [sys.executable, __file__, "--one", json.dumps(given)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def write_data(path: Path, num_users: int) -> None:
    """One row a user."""
    rng = np.random.default_rng(1)
    writer = None
    for start in range(0, num_users, CHUNK):
        num = min(CHUNK, num_users - start)
        moments = np.datetime64("2025-01-01", "us") + rng.integers(0, 365 * 86_400_000_000, num)
        columns: dict[str, Any] = {"user_id": pa.array([f"user-{n}" for n in range(start, start + num)])}
        columns |= {name: rng.random(num).astype(np.float32) for name in FLOATS}
        columns |= {name: rng.integers(0, 10_000, num) for name in INTEGERS}
        columns |= {name: pa.array(np.char.add("value-", rng.integers(0, 999, num).astype(str))) for name in STRINGS}
        columns["event_timestamp"] = pa.array(moments, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def run_one(given: dict[str, Any]) -> None:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float32, Int64, String

    folder, own = Path(given["folder"]), given["engine"] == "tandem"
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    kinds = dict.fromkeys(FLOATS, Float32) | dict.fromkeys(INTEGERS, Int64) | dict.fromkeys(STRINGS, String)
    source = FileSource(name="source", path=str(folder / "features.parquet"), timestamp_field="event_timestamp")
    schema = [Field(name="user_id", dtype=String), *(Field(name=name, dtype=kind) for name, kind in kinds.items())]
    view = FeatureView(name="view", entities=[user], schema=schema, source=source)
    engine = {"batch_engine": {"type": "pipelines.stores.columnar_engine.ColumnarEngine"}} if own else {}
    offline = {"type": "pipelines.stores.asof_offline_store.AsOfOfflineStore", "memory_limit": "1GB"}
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store=online_store(given["store"], given["place"], own=own),
        offline_store=offline | {"temp_directory": str(folder)} if own else {"type": "dask"},
        entity_key_serialization_version=3,
        **engine,
    )
    store = FeatureStore(config=config)
    store.apply([user, view])
    start, busy = time.perf_counter(), time.process_time()
    store.materialize(START, END)
    result = {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}
    result["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    last = f"user-{given['num_users'] - 1}"
    read = store.get_online_features(["view:s0"], [{"user_id": last}]).to_dict()
    if not str(read["s0"][0]).startswith("value-"):
        sys.exit(f"{last} has {read} online; expected a value")
    if own and given["audit"]:
        result |= audit(store, folder / "audited")
    print(json.dumps(result))


def audit(store: Any, audited: Path) -> dict[str, float]:
    """Seconds of an audit of everything that was written, and of materializing the same feature set again."""
    from pipelines.stores.materialization import materialize_view

    seconds = {}
    view = store.get_feature_view("view")
    for name in ("audit", "again"):
        note = {"identity": f"/{view.batch_source.path} version 0 until {END.isoformat()}"}
        if name == "audit":
            store.provider.online_store.remember(store.config, view, json.dumps(note))
        start = time.perf_counter()
        found = materialize_view(store, view, version=0, since=None, until=END, clock=END, audited=audited)
        seconds[name] = time.perf_counter() - start
        if not found.skipped or found.num_repaired:
            sys.exit(f"the audit found {found}; expected all as written")
    return seconds


def online_store(store: str, place: str, *, own: bool) -> dict[str, Any]:
    from urllib.parse import urlsplit

    if store == "sqlite":
        kind = "pipelines.stores.sqlite_online_store.WalSqliteOnlineStore" if own else "sqlite"
        return {"type": kind, "path": f"{place}/online.db"}
    if store == "redis":
        kind = "pipelines.stores.redis_online_store.ForwardRedisOnlineStore" if own else "redis"
        return {"type": kind, "connection_string": f"127.0.0.1:{place}"}
    if own:
        return {"type": "pipelines.stores.postgres_online_store.ForwardPostgresOnlineStore", "url": place}
    parts = urlsplit(place)
    names = {"host": parts.hostname, "port": parts.port, "database": parts.path[1:], "user": parts.username}
    return {"type": "postgres", "db_schema": "public", "password": "unused", "sslmode": "disable", **names}


if __name__ == "__main__":
    main()
