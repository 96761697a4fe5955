"""Numbers about a whole partition, and the bounds that hold for them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS, RAW_TABLES, is_served
from pipelines.data.rules import TableRule
from pipelines.sources.base import parse_partition

if TYPE_CHECKING:
    import duckdb

_DAY_SECONDS = 86_400.0


class Counts(Protocol):
    """The counts of a verdict that table rules look at."""

    num_rows: dict[str, int]
    num_accepted: dict[str, int]


def table_rules(
    connection: "duckdb.DuckDBPyConnection", counts: Counts, config: ValidationConfig, partition: str
) -> list[TableRule]:
    """Return the table rules of a partition; those against the lake's history only where it has some.

    Args:
        connection: holds `checked_events` and the view `lake_events`.
        counts: rows that came and were accepted.
        config: bounds.
        partition: name of the partition; `START/END` gives its length in days. A batch of served events is held
            against the shares of quarantined rows alone, and only from `min_served_events` on.
    """
    if is_served(partition):
        # Minutes of served events are no sample of days; and a few bad ones must not hold up all the others.
        return list(_quarantined_shares(counts, config)) if counts.num_rows[EVENTS] >= config.min_served_events else []
    rules = [_enough_events(counts, config), *_quarantined_shares(counts, config)]
    here = _numbers(connection, "checked_events WHERE broken_rule IS NULL")
    lake = _numbers(connection, "lake_events")
    if lake["num_events"] and here["num_events"]:
        rules += _against_history(here, lake, config, partition)
    return rules


def _enough_events(counts: Counts, config: ValidationConfig) -> TableRule:
    return TableRule(
        name="too_few_events",
        column="num_events",
        observed=counts.num_rows[EVENTS],
        at_least=config.min_events,
        at_most=None,
        meaning="the partition has events",
        advice="Check that the source's file is complete and that the partition's dates are those of its data",
    )


def _quarantined_shares(counts: Counts, config: ValidationConfig) -> Iterator[TableRule]:
    for table in RAW_TABLES:
        rows = counts.num_rows[table]
        yield TableRule(
            name=f"too_many_quarantined_{table}",
            column=f"quarantined_share_of_{table}",
            observed=1 - counts.num_accepted[table] / rows if rows else 0.0,
            at_least=None,
            at_most=config.max_quarantined_share,
            meaning=f"few rows of {table} break a rule",
            advice="Correct the source and read the partition again, or raise validation.max_quarantined_share",
        )


def _against_history(
    here: dict[str, Any], lake: dict[str, Any], config: ValidationConfig, partition: str
) -> Iterator[TableRule]:
    window = parse_partition(partition)
    seconds = (window[1] - window[0]).total_seconds() if window else here["seconds"]
    ratio = (here["num_events"] / _days(seconds)) / (lake["num_events"] / _days(lake["seconds"]))
    yield TableRule(
        name="unusual_volume",
        column="volume_ratio",
        observed=ratio,
        at_least=1 / config.max_volume_ratio,
        at_most=config.max_volume_ratio,
        meaning="events a day are of the order of the lake's mean",
        advice="Check the source for a lost or repeated delivery, or raise validation.max_volume_ratio",
    )
    if lake["deviation"] and here["mean"] is not None:
        yield TableRule(
            name="value_shift",
            column="value_shift",
            observed=abs(here["mean"] - lake["mean"]) / lake["deviation"],
            at_least=None,
            at_most=config.max_value_shift,
            meaning="the mean `value` is near the lake's, in its standard deviations",
            advice="Check whether the source changed the unit of `value`, or raise validation.max_value_shift",
        )


def _days(seconds: float | None) -> float:
    return max((seconds or 0.0) / _DAY_SECONDS, 1.0)


def _numbers(connection: "duckdb.DuckDBPyConnection", source: str) -> dict[str, Any]:
    found = connection.execute(
        "SELECT count(*), date_diff('second', min(ingested_at), max(ingested_at)), avg(value), stddev_pop(value) "
        f"FROM {source}"
    ).fetchall()[0]
    return dict(zip(("num_events", "seconds", "mean", "deviation"), found, strict=True))
