"""Features of the items in answers, computed anew as of the release's snapshot, beside those that serving used.

A release carries item features as of its snapshot, whenever it answers: that, and not the request's moment, is what
they are compared at.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa

from pipelines.config import FeatureConfig
from pipelines.contracts import EVENT_TIMESTAMP, EVENTS, ITEM_ID, ITEMS, USERS, ParityFeature, Snapshot
from pipelines.data.lake import Lake
from pipelines.features import on_demand
from pipelines.features.compute import connect, raw_table
from pipelines.features.schemas import (
    CREATED_TIMESTAMP,
    ITEM_CONTENT,
    ITEM_POPULARITY,
    ITEM_QUALITY,
    STRINGS,
    USER_TASTE,
)
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.stores.declared import declared_ttls
from pipelines.stores.served import Record

VIEWS = (ITEM_POPULARITY, ITEM_QUALITY, ITEM_CONTENT)
ITEM_FEATURES = {name: kind for view in VIEWS for name, kind in view.features.items()}
MATCH = "taste_match"
COMPARED = {**ITEM_FEATURES, MATCH: pa.float32()}


def compare_items(
    records: Sequence[Record], *, lake: Lake, features: FeatureConfig, delay_seconds: float, scratch: Path
) -> tuple[ParityFeature, ...]:
    """Return for each item feature in how many requests an item's value differs, with an example.

    `taste_match` is computed from the taste that serving used and the item's categories offline.

    Args:
        records: logged requests; those without items are left out.
        lake: has the raw rows at the versions of the releases' snapshots.
        features: DuckDB's memory and threads.
        delay_seconds: the raw source's delay.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: a version that a release's snapshot names is gone.
    """
    shown = [(row, record) for row, record in enumerate(records) if record.get("items")]
    if not shown:
        return ()
    connection = connect(features, scratch)
    examples: dict[str, dict[int, str]] = {name: {} for name in COMPARED}
    for text in sorted({json.dumps(record["snapshot"], sort_keys=True) for _, record in shown}):
        snapshot = Snapshot.model_validate_json(text)
        same = [(row, record) for row, record in shown if Snapshot(**record["snapshot"]) == snapshot]
        connection.register("used", _used(same))
        _compute(connection, lake, snapshot, features, delay_seconds)
        connection.register("joined", _joined(connection))
        for name in COMPARED:
            examples[name] |= _different(connection, name, records)
    return tuple(
        ParityFeature(name=name, num_different=len(found), example=found[min(found)] if found else "")
        for name, found in examples.items()
    )


def _used(records: Sequence[tuple[int, Record]]) -> pa.Table:
    """What serving used, typed: one row an item of an answer."""
    rows = [(row, record["features"], item) for row, record in records for item in record["items"]]
    columns = {
        "row": pa.array([row for row, _, _ in rows], pa.int64()),
        ITEM_ID: pa.array([item[ITEM_ID] for _, _, item in rows], pa.string()),
    }
    columns |= {name: pa.array([item.get(name) for *_, item in rows], kind) for name, kind in COMPARED.items()}
    tastes = [_taste(used) for _, used, _ in rows]
    columns |= {name: pa.array([t[name] for t in tastes], kind) for name, kind in USER_TASTE.features.items()}
    return pa.table(columns)


def _taste(used: Record) -> Record:
    """Return the taste that serving used; none where its lists are not of one length, which has no meaning."""
    taste = {name: used.get(name) for name in USER_TASTE.features}
    lengths = {len(values or ()) for values in taste.values()}
    return taste if len(lengths) == 1 else dict.fromkeys(taste)


def _compute(connection: Any, lake: Lake, snapshot: Snapshot, features: FeatureConfig, delay_seconds: float) -> None:
    """Create a table `at_<view>` for each view: of each item the row that held at the snapshot, if still valid."""
    ttls = declared_ttls()
    raw = {name: raw_table(connection, lake, snapshot, name) for name in (EVENTS, ITEMS, USERS)}
    expressions = feature_tables(RawTables(**raw), config=features, as_of=snapshot.as_of, delay_seconds=delay_seconds)
    for view in VIEWS:
        oldest = f"TIMESTAMPTZ '{snapshot.as_of - ttls[view.name]}'" if view.name in ttls else "'-infinity'"
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE at_{view.name} AS
            FROM (SELECT now.* FROM ({ibis.to_sql(expressions[view.name], dialect="duckdb")}) AS now
            SEMI JOIN used USING ({ITEM_ID})
            QUALIFY row_number() OVER (
                PARTITION BY {ITEM_ID} ORDER BY {EVENT_TIMESTAMP} DESC, {CREATED_TIMESTAMP} DESC
            ) = 1) WHERE {EVENT_TIMESTAMP} >= {oldest}
        """)


def _joined(connection: Any) -> pa.Table:
    """What serving used, and beside each feature what it is offline, as `offline_<feature>`."""
    names = ", ".join(f"{view.name}.{name} AS offline_{name}" for view in VIEWS for name in view.features)
    joins = " ".join(f"LEFT JOIN at_{view.name} {view.name} USING ({ITEM_ID})" for view in VIEWS)
    table = connection.sql(f"SELECT used.*, {names} FROM used {joins}").to_arrow_table()
    categories = table["offline_categories"].cast(STRINGS)
    match = on_demand.taste_match(table["taste_categories"], table["taste_weights"], categories)
    return table.append_column(f"offline_{MATCH}", pa.array(match))


def _different(connection: Any, name: str, records: Sequence[Record]) -> dict[int, str]:
    """Return request -> an item whose value differs; an empty list counts as none, as for the models."""
    lists = pa.types.is_list(COMPARED[name])
    used, offline = (f"CASE WHEN len({v}) > 0 THEN {v} END" if lists else v for v in (name, f"offline_{name}"))
    rows = connection.execute(f"""
        SELECT row, min({ITEM_ID} || ': used ' || coalesce(({used})::VARCHAR, 'nothing')
            || ', offline ' || coalesce(({offline})::VARCHAR, 'nothing'))
        FROM joined WHERE {used} IS DISTINCT FROM {offline} GROUP BY row
    """).fetchall()
    return {row: f"request {records[row]['request_id']}, item {example}" for row, example in rows}
