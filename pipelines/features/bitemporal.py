"""What late rows would have taught a model: features joined by event time alone, held against what was known.

The naive join computes features as if every event had been known the moment it happened, which is what a join on
event time alone sees. The bitemporal join counts a row from when it had arrived, too. Where they differ, the naive
join shows a label its future.
"""
# ruff: noqa: S608 - every identifier in the queries is quoted, every value is a number

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from pydantic import Field

from pipelines.config import FeatureConfig
from pipelines.contracts import EVENT_TIMESTAMP, EVENTS, INGESTED_AT, ITEMS, USERS, Ref, Snapshot
from pipelines.data.lake import Lake
from pipelines.features.compute import connect, raw_table, run
from pipelines.features.events import known_events
from pipelines.features.schemas import CREATED_TIMESTAMP, FEATURE_TABLES, USER_SEEN, USER_WINDOW, FeatureTable
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.stores.asof_join import AT, ROW, JoinView, join_view, quote

LABELS = "labels"
# Read by serving alone: no label is joined to them.
JOINED = [table for table in FEATURE_TABLES.values() if table not in (USER_SEEN, USER_WINDOW)]


class FeatureDifference(Ref):
    """How one feature differs between the two joins."""

    view: str
    feature: str
    num_different: int = Field(description="labels whose value differs; null and a value differ")
    num_only_naive: int = Field(description="of these, labels for which nothing was known yet")
    mean_difference: float | None = Field(description="mean absolute difference of the labels with two numbers")
    max_difference: float | None = Field(description="the largest of them; of times, in seconds")


class BitemporalReport(Ref):
    """How many labels a join by event time alone would have shown their future, and which features."""

    snapshot: Snapshot
    num_labels: int
    num_late_events: int = Field(description="known events that arrived after they happened")
    num_different: int = Field(
        description="labels with at least one feature that differs, features that are times aside"
    )
    features: list[FeatureDifference] = Field(description="all joined features, most different labels first")


def bitemporal_report(
    snapshot: Snapshot, *, config: FeatureConfig, delay_seconds: float, lake: Lake, scratch: Path
) -> BitemporalReport:
    """Compare the naive and the bitemporal join for every event known before the snapshot's `as_of`.

    Args:
        snapshot: fixes the rows: lake versions, and only what was known before `as_of`.
        config: lengths of list features, and DuckDB's memory and threads.
        delay_seconds: how long after its event a row of the source becomes known, in seconds; none for the naive join.
        lake: where raw tables are read.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: a table version of the snapshot is missing.
    """
    connection = connect(config, scratch)
    raw = RawTables(**{name: raw_table(connection, lake, snapshot, name) for name in (EVENTS, ITEMS, USERS)})
    known = known_events(raw.events, as_of=snapshot.as_of, delay_seconds=delay_seconds)
    num_late = _write_labels(connection, known)
    # Both know the same events: those of the snapshot. They disagree on since when.
    at_once = raw.events.semi_join(known, "event_id").mutate(**{INGESTED_AT: ibis._[EVENT_TIMESTAMP]})
    naive = RawTables(events=at_once, items=raw.items, users=raw.users)
    settings: dict[str, Any] = {"config": config, "as_of": snapshot.as_of}
    sides = {
        "naive": feature_tables(naive, delay_seconds=0.0, **settings),
        "bitemporal": feature_tables(raw, delay_seconds=delay_seconds, **settings),
    }
    features = [difference for table in JOINED for difference in _compare(connection, table, sides)]
    return BitemporalReport(
        snapshot=snapshot,
        num_labels=_number(connection, f"SELECT count(*) FROM {LABELS}"),
        num_late_events=num_late,
        num_different=_number(connection, f"SELECT count(DISTINCT {ROW}) FROM different"),
        features=sorted(features, key=lambda feature: -feature.num_different),
    )


def _write_labels(connection: Any, known: ir.Table) -> int:
    """Keep the labels, and a table for the rows of those that differ; return how many of them arrived late."""
    keys = known.select("user_id", "item_id", EVENT_TIMESTAMP, INGESTED_AT)
    connection.execute(f"""
        CREATE TABLE {LABELS} AS SELECT user_id, item_id, epoch_us({EVENT_TIMESTAMP}) AS {AT},
            {INGESTED_AT} > {EVENT_TIMESTAMP} AS late, row_number() OVER () - 1 AS {ROW}
        FROM ({ibis.to_sql(keys, dialect="duckdb")})
    """)
    connection.execute(f"CREATE TABLE different ({ROW} BIGINT)")
    return _number(connection, f"SELECT count(*) FROM {LABELS} WHERE late")


def _compare(connection: Any, table: FeatureTable, sides: dict[str, dict[str, ir.Table]]) -> list[FeatureDifference]:
    for side, tables in sides.items():
        run(connection, tables[table.name]).create(f"{side}_rows")
        features = {name: f"{side}_{name}" for name in table.features}
        keys = {table.entity: table.entity}
        view = JoinView(f"{side}_rows", keys, features, EVENT_TIMESTAMP, created=CREATED_TIMESTAMP)
        join_view(connection, LABELS, view).create(side)
    joined = f"{LABELS} POSITIONAL JOIN naive POSITIONAL JOIN bitemporal"
    # A moment of arrival always differs from one of happening.
    any_differs = " OR ".join(
        _differs(name) for name, kind in table.features.items() if not pa.types.is_timestamp(kind)
    )
    connection.execute(f"INSERT INTO different SELECT {ROW} FROM {joined} WHERE {any_differs}")
    figures = ", ".join(figure for name, kind in table.features.items() for figure in _figures(name, kind))
    found = list(connection.sql(f"SELECT {figures} FROM {joined}").fetchall()[0])
    for side in sides:
        connection.execute(f"DROP TABLE {side}; DROP TABLE {side}_rows")
    return [
        FeatureDifference(
            view=table.name,
            feature=name,
            num_different=found[4 * n],
            num_only_naive=found[4 * n + 1],
            mean_difference=found[4 * n + 2],
            max_difference=found[4 * n + 3],
        )
        for n, name in enumerate(table.features)
    ]


def _differs(name: str) -> str:
    return f"{quote(f'naive_{name}')} IS DISTINCT FROM {quote(f'bitemporal_{name}')}"


def _figures(name: str, kind: pa.DataType) -> list[str]:
    """SQL for the counts and sizes of `FeatureDifference`, in its order."""
    naive, bitemporal, where = quote(f"naive_{name}"), quote(f"bitemporal_{name}"), f"FILTER (WHERE {_differs(name)})"
    counts = [
        f"count(*) {where}",
        f"count(*) FILTER (WHERE {bitemporal} IS NULL AND {naive} IS NOT NULL)",
    ]
    if pa.types.is_timestamp(kind):
        size = f"abs(epoch_us({naive}) - epoch_us({bitemporal})) / 1e6"
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        size = f"abs(CAST({naive} AS DOUBLE) - CAST({bitemporal} AS DOUBLE))"
    else:
        return [*counts, "CAST(NULL AS DOUBLE)", "CAST(NULL AS DOUBLE)"]
    return [*counts, f"avg({size}) {where}", f"max({size}) {where}"]


def _number(connection: Any, query: str) -> int:
    return int(connection.sql(query).fetchall()[0][0])
