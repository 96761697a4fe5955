"""The rules of the raw tables: one list, from which both the quarantine and the report are made.

A row rule says the same thing twice: as SQL, which DuckDB evaluates on every row, however many there are, to
find the rows to quarantine; and as a Great Expectations expectation over the same prepared columns, which makes
the report an operator reads. `tests/pipelines/data/test_rules.py` holds that both count the same rows. A table
rule is a bound on a number computed over the whole partition; it too becomes an expectation.

Rules are named for the defect. A row that breaks several is quarantined under the first of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS, ITEMS, USERS

EARLIEST = "1970-01-01 00:00:00+00"


@dataclass(frozen=True)
class RowRule:
    """A property every row of a table must have.

    Attributes:
        name: the defect.
        broken: SQL over the prepared table, true where the rule is broken and never null.
        expectation: Great Expectations class name.
        arguments: its arguments.
        meaning: what the rule asks for, for a person.
    """

    name: str
    broken: str
    expectation: str
    arguments: Mapping[str, Any]
    meaning: str


@dataclass(frozen=True)
class TableRule:
    """Bounds on one number about a whole partition; None leaves a side open.

    Attributes:
        name: the defect.
        column: name of the number among the partition's statistics.
        observed: its value.
        at_least: lower bound.
        at_most: upper bound.
        meaning: what the rule asks for.
        advice: what to do when it is broken.
    """

    name: str
    column: str
    observed: float
    at_least: float | None
    at_most: float | None
    meaning: str
    advice: str = field(default="Correct the source and read the partition again")

    @property
    def broken(self) -> bool:
        """Whether the number is out of bounds."""
        low = self.at_least is not None and self.observed < self.at_least
        return low or (self.at_most is not None and self.observed > self.at_most)

    @property
    def bounds(self) -> str:
        """What was observed and what was expected, for a person."""
        sides = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        sides += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return f"; observed {self.observed:g}, expected {' and '.join(sides)}"


def row_rules(table: str, *, config: ValidationConfig, as_of: datetime) -> list[RowRule]:
    """Return the row rules of a table in the order they are applied.

    Args:
        table: `events`, `items` or `users`.
        config: bounds of `value`.
        as_of: the ingestion's clock, UTC: nothing may happen or arrive after it.
    """
    builders = {EVENTS: _event_rules, ITEMS: _item_rules, USERS: _user_rules}
    return builders[table](config, as_of)


def _event_rules(config: ValidationConfig, as_of: datetime) -> list[RowRule]:
    low, high = config.min_value, config.max_value
    return [
        *(_present(column) for column in ("event_id", "user_id", "item_id", "event_type")),
        *(_readable_time(column) for column in ("event_timestamp", "ingested_at")),
        _flag("bad_value", "value_is_unreadable", "`value` is empty or a number"),
        RowRule(
            "event_before_1970",
            f"coalesce(event_timestamp < TIMESTAMPTZ '{EARLIEST}', false)",
            "ExpectColumnValuesToBeBetween",
            {"column": "event_timestamp", "min_value": datetime.fromisoformat(EARLIEST)},
            "`event_timestamp` is not before 1970",
        ),
        _not_after("future_event", "event_timestamp", as_of),
        _not_after("future_arrival", "ingested_at", as_of),
        RowRule(
            "event_after_arrival",
            "coalesce(event_timestamp > ingested_at, false)",
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {
                "column_A": "ingested_at",
                "column_B": "event_timestamp",
                "or_equal": True,
                "ignore_row_if": "either_value_is_missing",
            },
            "an event does not arrive before it happens",
        ),
        RowRule(
            "value_out_of_range",
            f"coalesce(value NOT BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE, false)",
            "ExpectColumnValuesToBeBetween",
            {"column": "value", "min_value": low, "max_value": high},
            f"`value` is empty or between {low:g} and {high:g}",
        ),
        _flag(
            "duplicate_event_id",
            "is_repeat",
            "`event_id` is not in this partition before, nor in the lake from another one",
        ),
        _flag("unknown_item", "item_is_unknown", "`item_id` is an accepted item of this partition or of the lake"),
        _flag("unknown_user", "user_is_unknown", "`user_id` is an accepted user of this partition or of the lake"),
    ]


def _item_rules(_: ValidationConfig, as_of: datetime) -> list[RowRule]:
    return [
        _present("item_id"),
        _present("title"),
        _readable_time("updated_at"),
        _not_after("future_item", "updated_at", as_of),
        _flag("duplicate_item", "is_repeat", "(`item_id`, `updated_at`) occurs once"),
    ]


def _user_rules(_: ValidationConfig, as_of: datetime) -> list[RowRule]:
    return [
        _present("user_id"),
        _readable_time("updated_at"),
        _not_after("future_user", "updated_at", as_of),
        _flag("duplicate_user", "is_repeat", "(`user_id`, `updated_at`) occurs once"),
    ]


def _present(column: str) -> RowRule:
    return RowRule(
        f"missing_{column}",
        f"{column} IS NULL",
        "ExpectColumnValuesToNotBeNull",
        {"column": column},
        f"`{column}` is there and not empty",
    )


def _readable_time(column: str) -> RowRule:
    return RowRule(
        f"bad_{column}",
        f"{column} IS NULL",
        "ExpectColumnValuesToNotBeNull",
        {"column": column},
        f"`{column}` is there and can be read as a time",
    )


def _not_after(name: str, column: str, as_of: datetime) -> RowRule:
    return RowRule(
        name,
        f"coalesce({column} > TIMESTAMPTZ '{as_of.isoformat()}', false)",
        "ExpectColumnValuesToBeBetween",
        {"column": column, "max_value": as_of},
        f"`{column}` is not after the ingestion's clock, {as_of.isoformat()}",
    )


def _flag(name: str, column: str, meaning: str) -> RowRule:
    """A rule whose answer needs more than the row itself; the prepared table carries it as a boolean column."""
    return RowRule(name, column, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": [False]}, meaning)
