"""Run the transformations and write their tables to the lake: on DuckDB in this process, or on Spark."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pipelines.config import FeatureConfig
from pipelines.contracts import EVENTS, ITEMS, USERS, Snapshot
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import ConfigError, LakeError
from pipelines.features.schemas import FEATURE_TABLES
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.stores import asof_join

BATCH_ROWS = 65_536


def write_feature_tables(
    snapshot: Snapshot, *, config: FeatureConfig, delay_seconds: float, lake: Lake, scratch: Path
) -> tuple[dict[str, int], dict[str, int]]:
    """Compute every feature table of a snapshot and replace it in the lake.

    Args:
        snapshot: fixes the rows: lake versions, and only what was known before `as_of`.
        config: lengths of list features, and DuckDB's memory and threads.
        delay_seconds: how long after its event a row of the source becomes known, in seconds.
        lake: where raw tables are read and feature tables are written.
        scratch: folder to which DuckDB spills.

    Returns:
        Feature view -> Delta version, and feature view -> rows.

    Raises:
        ConfigError: DuckDB needs more memory than its budget, for what it cannot spill.
        LakeError: a table could not be written.
    """
    if config.engine == "spark":
        from pipelines.features import spark

        return spark.write_feature_tables(
            snapshot, config=config, delay_seconds=delay_seconds, lake=lake, scratch=scratch
        )
    connection = connect(config, scratch)
    raw = RawTables(**{name: raw_table(connection, lake, snapshot, name) for name in (EVENTS, ITEMS, USERS)})
    expressions = feature_tables(raw, config=config, as_of=snapshot.as_of, delay_seconds=delay_seconds)
    versions, num_rows = {}, {}
    for name, table in FEATURE_TABLES.items():
        with _within_budget(name, config):
            rows = _Counted(run(connection, expressions[name]).to_arrow_reader(BATCH_ROWS).cast(table.schema))
            versions[name] = lake.overwrite(table.lake_table, rows.reader)
        num_rows[name] = rows.num_rows
    return versions, num_rows


def connect(config: FeatureConfig, scratch: Path) -> Any:
    """Return an in-process DuckDB connection with the configured budget; it spills to `scratch`."""
    return asof_join.connect(memory_limit=config.memory_limit, threads=config.threads, temp_directory=str(scratch))


def run(connection: Any, expression: ir.Table) -> Any:
    """Return an expression over raw tables as a DuckDB relation, not yet executed."""
    # Through SQL text: Ibis' own reader calls methods that DuckDB 2 no longer has.
    return connection.sql(ibis.to_sql(expression, dialect="duckdb"))


def raw_table(connection: Any, lake: Lake, snapshot: Snapshot, name: str) -> ir.Table:
    """Make a raw table at the snapshot's version a DuckDB view, and return it as an Ibis table.

    A table the snapshot does not have is empty.
    """
    schema, version = LAKE_SCHEMAS[name], snapshot.versions.get(name)
    local = version is not None and "://" not in lake.root
    files = lake.files(name, version) if local and version is not None else []
    if files:
        # By name: files of before a column was added lack it.
        connection.read_parquet(files, union_by_name=True).create_view(name)
    else:
        # DuckDB opens files of an object store through Arrow; an empty table has no files.
        connection.register(name, schema.empty_table() if version is None else lake.dataset(name, version=version))
    return ibis.table(ibis.Schema.from_pyarrow(schema), name=name)


@contextmanager
def _within_budget(name: str, config: FeatureConfig) -> Iterator[None]:
    """Say which setting to change when DuckDB runs out of memory, which it also does while the lake is writing."""
    import duckdb

    try:
        yield
    except (LakeError, duckdb.OutOfMemoryException) as error:
        found = re.search(r"Out of Memory Error: ([^\n]*)", str(error))
        if found is None:
            raise
        raise ConfigError(
            f"features.memory_limit is {config.memory_limit} for {config.threads} threads, and {name} needs more: "
            f"{found[1]}. Raise features.memory_limit or lower features.threads, then run the step again"
        ) from error


class _Counted:
    """A reader that counts the rows that pass through it."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.num_rows = 0
        self.reader = pa.RecordBatchReader.from_batches(reader.schema, self._count(reader))

    def _count(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.num_rows += batch.num_rows
            yield batch
