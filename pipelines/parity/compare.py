"""Features of requests, computed by the transformations as of each request, beside those that serving used.

The feature tables are computed anew, of the users asked about alone: so what is compared is serving against the
definitions, whatever was materialized when.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa

from pipelines.config import FeatureConfig, ParityConfig
from pipelines.contracts import EVENTS, ITEMS, USER_ID, USERS, ParityFeature, Snapshot
from pipelines.data.lake import Lake
from pipelines.features import on_demand
from pipelines.features.compute import connect, raw_table
from pipelines.features.schemas import TIMESTAMP, USER_ACTIVITY, USER_HISTORY, USER_PROFILE, USER_TASTE, USER_WINDOW
from pipelines.features.transforms import RawTables, feature_tables
from pipelines.stores.served import Record

VIEWS = (USER_ACTIVITY, USER_HISTORY, USER_TASTE, USER_PROFILE)
USER_FEATURES = {name: kind for view in VIEWS for name, kind in view.features.items()}
CONTEXT = {"hour": pa.int64(), "weekday": pa.int64(), "days_since_last_event": pa.float32()}
HISTORY = "recent_items"
OF_EVENTS = {*USER_ACTIVITY.features, *USER_HISTORY.features, "days_since_last_event"}
# With the row of a view expired, which features are not those of the user: its own, and those that serving carries
# forward over new events from it. Up to when taste was known can only be told from the windows.
EXPIRE_WITH = {
    USER_ACTIVITY.name: OF_EVENTS,
    USER_HISTORY.name: set(USER_HISTORY.features),
    USER_TASTE.name: set(USER_TASTE.features),
    USER_PROFILE.name: set(USER_PROFILE.features),
    USER_WINDOW.name: OF_EVENTS | set(USER_TASTE.features),
}
DAY = 86_400_000_000
_MOMENTS = ("read_at", "request_timestamp", "stored_until")


def compare(
    records: Sequence[Record],
    *,
    lake: Lake,
    versions: Mapping[str, int | None],
    config: ParityConfig,
    features: FeatureConfig,
    delay_seconds: float,
    scratch: Path,
) -> tuple[tuple[ParityFeature, ...], int]:
    """Return for each feature for how many requests it differs, with an example; and how many could not be told.

    A value is right that was right at the request's moment, or at any moment up to `lag_seconds` before: a newer event
    may not have reached the process yet. With more than one such event, features of events are not compared. Taste,
    which is known a day at a time and only materialized, may also be that of the last event that the stored features
    held, with or without that event's day. Features of a request whose rows had expired when serving read them are
    what a policy says and not compared; each says for how many.

    Args:
        records: logged requests.
        lake: has the raw rows.
        versions: raw table -> version to read; None where there is no such table.
        config: the lag.
        features: lengths of list features.
        delay_seconds: the raw source's delay.
        scratch: folder to which DuckDB spills.
    """
    if not records:
        return (), 0
    connection = connect(features, scratch)
    connection.register("used", _used(records))
    connection.register("expired", _expired(records))
    until = max(datetime.fromisoformat(record["read_at"]) for record in records) + timedelta(microseconds=1)
    _compute(connection, lake, versions, until, features, delay_seconds)
    _candidates(connection, round(config.lag_seconds * 1_000_000))
    ((num_ambiguous,),) = connection.execute("SELECT count(*) FROM ambiguous").fetchall()
    return tuple(_feature(connection, name, records) for name in (*USER_FEATURES, *CONTEXT)), num_ambiguous


def _used(records: Sequence[Record]) -> pa.Table:
    """What serving used, typed: one row a request."""
    kinds = USER_FEATURES | CONTEXT
    columns = {
        "row": pa.array(range(len(records)), pa.int64()),
        USER_ID: pa.array([record["user_id"] for record in records], pa.string()),
        "history_length": pa.array([record["history_length"] for record in records], pa.int64()),
        **{name: _moments([record[name] for record in records]) for name in _MOMENTS},
    }
    for name, kind in kinds.items():
        values = [record["features"].get(name) for record in records]
        columns[name] = _moments(values) if pa.types.is_timestamp(kind) else pa.array(values, kind)
    return pa.table(columns)


def _expired(records: Sequence[Record]) -> pa.Table:
    """Which features are not compared for which request; records of before policies were logged name no views."""
    pairs = {
        (row, name)
        for row, record in enumerate(records)
        for view in record.get("expired", ())
        for name in EXPIRE_WITH.get(view, ())
    }
    rows, names = zip(*sorted(pairs), strict=True) if pairs else ((), ())
    return pa.table({"row": pa.array(rows, pa.int64()), "name": pa.array(names, pa.string())})


def _moments(texts: list[str | None]) -> pa.Array:
    return pa.array([None if text is None else datetime.fromisoformat(text) for text in texts], TIMESTAMP)


def _compute(
    connection: Any,
    lake: Lake,
    versions: Mapping[str, int | None],
    until: datetime,
    features: FeatureConfig,
    delay_seconds: float,
) -> None:
    """Create a table `now_<view>` for each view, of the users asked about."""
    there = {table: version for table, version in versions.items() if version is not None}
    snapshot = Snapshot(dataset="", snapshot_id="", as_of=until, versions=there)
    raw = {name: raw_table(connection, lake, snapshot, name) for name in (EVENTS, ITEMS, USERS)}
    asked = ibis.table({USER_ID: "string"}, name="used")
    for name in (EVENTS, USERS):
        raw[name] = raw[name].semi_join(asked, USER_ID)
    expressions = feature_tables(RawTables(**raw), config=features, as_of=until, delay_seconds=delay_seconds)
    for view in VIEWS:
        sql = ibis.to_sql(expressions[view.name], dialect="duckdb")
        connection.execute(f"CREATE OR REPLACE TEMP TABLE now_{view.name} AS {sql}")


def _candidates(connection: Any, lag: int) -> None:
    """Create table `offline`: for each request the features at every moment at which serving may have had them."""
    stored = "coalesce(stored_until, make_timestamptz(0))"
    midnight = f"make_timestamptz((epoch_us({stored}) // {DAY} + 1) * {DAY})"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE moments AS
        SELECT row, user_id, request_timestamp, read_at AS moment, false AS is_stored FROM used
        UNION
        SELECT row, user_id, request_timestamp, read_at - to_microseconds({lag}), false FROM used
        UNION
        SELECT row, used.user_id, request_timestamp, event_timestamp, false
        FROM used JOIN now_{USER_ACTIVITY.name} now ON used.user_id = now.user_id
        AND event_timestamp > read_at - to_microseconds({lag}) AND event_timestamp <= read_at
        UNION
        SELECT row, user_id, request_timestamp, unnest([{stored}, {midnight}]), true FROM used
    """)
    # Which of several events on their way had arrived cannot be told: they may come from several processes.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE ambiguous AS
        SELECT row FROM used JOIN now_{USER_ACTIVITY.name} now ON used.user_id = now.user_id
        AND event_timestamp > read_at - to_microseconds({lag}) AND event_timestamp <= read_at
        GROUP BY row HAVING count(*) > 1
    """)
    joins = " ".join(
        f"ASOF LEFT JOIN now_{view.name} {view.name} "
        f"ON m.user_id = {view.name}.user_id AND m.moment >= {view.name}.event_timestamp"
        for view in VIEWS
    )
    names = ", ".join(f"{view.name}.{name}" for view in VIEWS for name in view.features)
    joined = connection.sql(f"SELECT m.row, m.moment, m.is_stored, m.request_timestamp, {names} FROM moments m {joins}")
    table = joined.to_arrow_table()
    requested = table["request_timestamp"]
    context = on_demand.request_context(requested)
    context["days_since_last_event"] = on_demand.days_since_last_event(requested, table["last_known_at"])
    for name, values in context.items():
        table = table.append_column(name, values)
    connection.register("offline", table)


def _value(side: str, name: str) -> str:
    """SQL of a feature as the models read it: no more history than they do, and an empty list as none."""
    kind = (USER_FEATURES | CONTEXT)[name]
    value = f"{side}.{name}" + ("[-used.history_length:]" if name == HISTORY else "")
    return f"CASE WHEN len({value}) > 0 THEN {value} END" if pa.types.is_list(kind) else value


def _feature(connection: Any, name: str, records: Sequence[Record]) -> ParityFeature:
    """Count the requests for which no moment gives the value that was used."""
    used, offline = (_value(side, name) for side in ("used", "offline"))
    stored = "true" if name in USER_TASTE.features else "NOT is_stored"
    told = "row NOT IN (FROM ambiguous)" if name in OF_EVENTS else "true"
    rows = connection.execute(f"""
        SELECT row, any_value({used})::VARCHAR, arg_max(({offline})::VARCHAR, offline.moment)
        FROM used JOIN offline USING (row)
        WHERE {stored} AND {told} AND row NOT IN (SELECT row FROM expired WHERE name = '{name}') GROUP BY row
        HAVING NOT bool_or({used} IS NOT DISTINCT FROM {offline}) ORDER BY row
    """).fetchall()
    ((num_expired,),) = connection.execute("SELECT count(*) FROM expired WHERE name = ?", [name]).fetchall()
    example = ""
    if rows:
        row, used, expected = rows[0]
        record = records[row]
        example = (
            f"request {record['request_id']} of user {record['user_id']} at {record['read_at']}: "
            f"used {used}, offline {expected}"
        )
    return ParityFeature(name=name, num_different=len(rows), num_expired=num_expired, example=example)
