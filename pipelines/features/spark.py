"""Run the transformations on Spark and write their tables to the lake.

Executors read and write Parquet files; this process compiles queries, lists files and commits them, and never holds
a row.
"""

from pathlib import Path
from uuid import uuid4

import ibis
import ibis.expr.types as ir

from pipelines.config import FeatureConfig
from pipelines.contracts import EVENTS, ITEMS, USERS, Snapshot
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.stores.spark_files import columns_of, read_files
from pipelines.stores.spark_session import open_session, session_conf


def write_feature_tables(
    snapshot: Snapshot, *, config: FeatureConfig, delay_seconds: float, lake: Lake, scratch: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Compute every feature table of a snapshot and replace it in the lake; as `compute.write_feature_tables`.

    Raises:
        ConfigError: PySpark or Java is not installed.
        FeatureStoreError: Spark did not start.
        LakeError: a table version of the snapshot is missing.
    """
    session = open_session(session_conf(config.spark, scratch))
    from pipelines.features.spark_sql import spark_sql

    raw = {}
    for name in (EVENTS, ITEMS, USERS):
        version = snapshot.versions.get(name)
        files = [] if version is None else lake.files(name, version)
        read_files(session, files, LAKE_SCHEMAS[name]).createOrReplaceTempView(name)
        raw[name] = _unbound(name)
    expressions = feature_tables(RawTables(**raw), config=config, as_of=snapshot.as_of, delay_seconds=delay_seconds)
    versions, num_rows = {}, {}
    for name, table in FEATURE_TABLES.items():
        # A folder of its own: what a killed run left is in no version.
        folder = f"spark-{uuid4().hex}"
        rows = columns_of(session.sql(spark_sql(expressions[name])), table.schema)
        rows.write.option("compression", "zstd").parquet(f"{lake.uri(table.lake_table)}/{folder}")
        versions[name], num_rows[name] = lake.adopt(table.lake_table, folder, table.schema)
    return versions, num_rows


def _unbound(name: str) -> ir.Table:
    return ibis.table(ibis.Schema.from_pyarrow(LAKE_SCHEMAS[name]), name=name)
