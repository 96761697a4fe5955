"""The tables of the SQLite online store: a row an entity, shown as Feast's row a feature by a view beside it.

Feast's format repeats the entity's key in every cell. A row of all features is written four times as fast and takes a
sixth of the space; the view has the name and the columns of Feast's table, so whatever reads that table reads the view.
"""
# ruff: noqa: S608 - names are quoted, the rest of the text is fixed

import sqlite3
from collections.abc import Sequence

from pipelines.errors import FeatureStoreError

VALUE = "value_"  # begins the columns of features, so that none is named like one of the others
FEASTS_COLUMNS = "entity_key, feature_name, value, value_text, vector_value, event_ts, created_ts, event_us"


def rows_table(name: str) -> str:
    """Return the quoted name of the table that holds the rows of Feast's table `name`."""
    return quoted(f"{name}:rows")


def value_column(feature: str) -> str:
    """Return the quoted name of a feature's column."""
    return quoted(VALUE + feature)


def make(connection: sqlite3.Connection, name: str, features: Sequence[str]) -> None:
    """Make what is missing of a table and its view; rows that Feast's own store wrote are taken over.

    Columns of features that are no longer asked for stay: another release may read them.

    Args:
        connection: to the database, in no transaction.
        name: of Feast's table.
        features: to be stored in it.

    Raises:
        FeatureStoreError: two features differ in case alone.
    """
    known = _features_of(connection, name)
    if _kind(connection, name) == "view" and set(features) <= set(known):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        feasts = _kind(connection, name) == "table"
        found = connection.execute(f"SELECT DISTINCT feature_name FROM {quoted(name)}") if feasts else ()
        known = _features_of(connection, name)
        wanted = list(dict.fromkeys([*known, *features, *(feature for (feature,) in found)]))
        _require_distinct(name, wanted)
        connection.execute(f"""
            CREATE TABLE IF NOT EXISTS {rows_table(name)} (
                entity_key BLOB PRIMARY KEY, event_ts timestamp, created_ts timestamp, event_us INTEGER NOT NULL
            )
        """)
        for feature in wanted[len(known) :]:
            connection.execute(f"ALTER TABLE {rows_table(name)} ADD COLUMN {value_column(feature)} BLOB")
        if feasts:
            _take_over(connection, name, wanted)
        connection.execute(f"DROP VIEW IF EXISTS {quoted(name)}")
        connection.execute(_view(name, wanted))


def drop(connection: sqlite3.Connection, name: str) -> None:
    """Delete a table and its view, and the table that Feast's own store made where it did."""
    if kind := _kind(connection, name):
        connection.execute(f"DROP {kind} {quoted(name)}")
    connection.execute(f"DROP TABLE IF EXISTS {rows_table(name)}")


def is_there(connection: sqlite3.Connection, name: str) -> bool:
    """Whether Feast's table `name` has rows here: a store that was deleted to be filled anew has none for a while."""
    return _kind(connection, f"{name}:rows") is not None


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _kind(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT type FROM sqlite_master WHERE name = ? AND type IN ('table', 'view')", (name,))
    found: tuple[str] | None = row.fetchone()
    return found[0] if found else None


def _features_of(connection: sqlite3.Connection, name: str) -> list[str]:
    columns = (row[1] for row in connection.execute(f"PRAGMA table_info({rows_table(name)})"))
    return [column.removeprefix(VALUE) for column in columns if column.startswith(VALUE)]


def _require_distinct(name: str, features: Sequence[str]) -> None:
    spelled: dict[str, str] = {}
    for feature in features:
        other = spelled.setdefault(feature.lower(), feature)
        if other != feature:
            raise FeatureStoreError(
                f"{name} has the features {other!r} and {feature!r}; expected names that differ in more than "
                "upper and lower case, which SQLite does not tell apart. Rename one"
            )


def _take_over(connection: sqlite3.Connection, name: str, features: Sequence[str]) -> None:
    """Move the cells of Feast's table into rows; a row is as new as its newest cell."""
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({quoted(name)})")}
    us = "coalesce(event_us, event_ts * 1000000)" if "event_us" in columns else "event_ts * 1000000"
    cells = "".join(f", max(CASE feature_name WHEN {_text(feature)} THEN value END)" for feature in features)
    into = "".join(f", {value_column(feature)}" for feature in features)
    connection.execute(f"""
        INSERT INTO {rows_table(name)} (entity_key, event_ts, created_ts, event_us{into})
        SELECT entity_key, max(event_ts), max(created_ts), max({us}){cells} FROM {quoted(name)} GROUP BY entity_key
    """)
    connection.execute(f"DROP TABLE {quoted(name)}")


def _view(name: str, features: Sequence[str]) -> str:
    """One row a feature that has a value: features are the inner loop, so one look-up finds an entity."""
    cells = (f"WHEN {_text(feature)} THEN r.{value_column(feature)}" for feature in features)
    cell = f"CASE f.column1 {' '.join(cells)} END"
    names = ", ".join(f"({_text(feature)})" for feature in features)
    return f"""
        CREATE VIEW {quoted(name)} ({FEASTS_COLUMNS}) AS
        SELECT r.entity_key, f.column1, {cell}, NULL, NULL, r.event_ts, r.created_ts, r.event_us
        FROM {rows_table(name)} AS r CROSS JOIN (VALUES {names}) AS f WHERE {cell} IS NOT NULL
    """


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
