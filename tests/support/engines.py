"""Two homes with the same raw rows, one an engine, and what has to be equal in them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.contracts import FeatureSet
from pipelines.data.lake import Lake
from pipelines.features.schemas import FEATURE_TABLES
from tests.support.feature_data import START, Workspace, event, item, random_tables
from tests.support.spark import SparkWorkspace

DELAY = 3.5


def both(folder: Path) -> tuple[Workspace, Workspace]:
    """Return an empty home on DuckDB and one on Spark."""
    return Workspace(folder / "duckdb", delay_seconds=DELAY), SparkWorkspace(folder / "spark", delay_seconds=DELAY)


def fill(workspace: Workspace, tables: dict[str, Any]) -> None:
    """Write raw tables, given as rows or as Arrow tables."""
    for name, rows in tables.items():
        if isinstance(rows, pa.Table):
            workspace.lake.overwrite(name, rows)
        else:
            workspace.fill({name: rows})


def awkward_tables() -> dict[str, list[dict[str, Any]]]:
    """Late rows, shared moments and missing values; besides, rows of one key and stamp, and numbers hard to add."""
    tables: dict[str, Any] = random_tables(seed=5, num_events=200)
    values = [0.1, 1e7 + 0.3, 1 / 3, -2.675, 1e-7]
    tables["events"] += [
        event(9_000 + n, f"ü{n % 2}", f"i{n % 12}", START + timedelta(days=n % 7), value=value, session_id="s")
        for n, value in enumerate(values * 4)
    ]
    twice = START + timedelta(days=3)
    tables["items"] += [item("i2", categories, twice) for categories in (["war"], ["war", "noir"], None)]
    return tables


def rows(lake: Lake, table: str, version: int) -> list[str]:
    """All rows as text, in which no float is rounded, in an order of their own."""
    return sorted(map(repr, lake.read(table, version=version).to_pylist()))


def assert_equal_tables(duckdb: Workspace, spark: Workspace, found: tuple[FeatureSet, FeatureSet]) -> None:
    """Check that all feature tables have equal rows, each written by its own engine in the declared types."""
    for name, table in FEATURE_TABLES.items():
        assert rows(duckdb.lake, table.lake_table, found[0].versions[name]) == rows(
            spark.lake, table.lake_table, found[1].versions[name]
        ), name
        # Which engine wrote them shows in their names.
        written = [spark.lake.files(table.lake_table, found[1].versions[name]), duckdb.lake.files(table.lake_table, 0)]
        assert ["spark-" in file for files in written for file in files[:1]] == [True, False]
        schema = spark.lake.dataset(table.lake_table, version=found[1].versions[name]).schema
        assert schema.equals(table.schema), name
    assert found[0].num_rows == found[1].num_rows
