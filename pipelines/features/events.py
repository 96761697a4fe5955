"""What the transformations start from: rows of a snapshot, stamped with when they were known.

Inside the transformations timestamps carry no zone and mean UTC: interval arithmetic on zoned timestamps goes
through a calendar and costs several times as much. Sums of values are exact decimals, so that they do not depend
on the order in which a backend adds, and a feature stays equal to the last bit whatever else is in the table.
"""

from datetime import UTC, datetime

import ibis
import ibis.expr.types as ir

from pipelines.contracts import EVENT_TIMESTAMP, INGESTED_AT, KNOWN_AT, SERVED, USER_ID
from pipelines.features.schemas import CREATED_TIMESTAMP, FeatureTable

ORDER = (KNOWN_AT, EVENT_TIMESTAMP, "event_id")
SECONDS_A_DAY = 86_400
EXACT = "decimal(38, 6)"
ARRIVAL = ibis.interval(microseconds=1)


def known_events(events: ir.Table, *, as_of: datetime, delay_seconds: float) -> ir.Table:
    """Return the events known strictly before `as_of`, with `known_at` and its day number.

    Args:
        events: the lake's events.
        as_of: the moment whose knowledge may be used, UTC.
        delay_seconds: how long after its event a row of the raw source becomes known, in seconds.
    """
    moments = events.mutate(event_timestamp=_naive(events[EVENT_TIMESTAMP]), ingested_at=_naive(events[INGESTED_AT]))
    later = ibis.greatest(moments[EVENT_TIMESTAMP], moments[INGESTED_AT])
    delayed = later + ibis.interval(microseconds=round(delay_seconds * 1_000_000))
    # The delay is the raw source's: what serving took in, it knew at once.
    served = moments["source_partition"].fill_null("").startswith(f"{SERVED}:")
    known = moments.mutate(known_at=served.ifelse(later, delayed) if delay_seconds else later)
    known = known.filter(known[KNOWN_AT] < _literal(as_of))
    return known.mutate(day=day_number(known[KNOWN_AT]), exact_value=known["value"].cast(EXACT))


def known_rows(table: ir.Table, key: str, *, as_of: datetime) -> ir.Table:
    """Return the rows of an items or users history updated before `as_of`, one for each `key` and `updated_at`.

    Of rows with equal key and stamp the last by content is kept: the choice must not depend on file order.
    """
    rows = table.mutate(updated_at=_naive(table["updated_at"]))
    rows = rows.filter(rows["updated_at"] < _literal(as_of))
    content = [rows[name].cast("string").desc() for name in rows.columns if name not in (key, "updated_at")]
    rows = rows.mutate(rank=ibis.row_number().over(ibis.window(group_by=[key, "updated_at"], order_by=content)))
    return rows.filter(rows["rank"] == 0).drop("rank")


def day_number(moment: ir.TimestampValue) -> ir.IntegerValue:
    """Return whole UTC days since 1970."""
    return (moment.epoch_seconds() / SECONDS_A_DAY).floor().cast("int64")


def midnight_after(day: ir.IntegerValue) -> ir.TimestampValue:
    """Return the first moment of the day after `day`: from then on the whole of `day` is known."""
    return ((day + 1) * SECONDS_A_DAY).as_timestamp("s")


def in_order(**frame: object) -> ibis.expr.builders.LegacyWindowBuilder:
    """Return a window over one user's events in their total order; ties in time are broken by `event_id`."""
    return ibis.window(group_by=USER_ID, order_by=list(ORDER), **frame)


def stamped(rows: ir.Table, table: FeatureTable, stamp: ir.TimestampValue, *, as_of: datetime) -> ir.Table:
    """Return `rows` as feature table `table`, stamped with `stamp`; rows stamped after `as_of` are dropped."""
    rows = rows.mutate(**{EVENT_TIMESTAMP: stamp})
    rows = rows.filter(rows[EVENT_TIMESTAMP] <= _literal(as_of))
    zoned = {
        name: rows[name].cast("timestamp('UTC', 6)")
        for name in (*table.features, EVENT_TIMESTAMP)
        if name == EVENT_TIMESTAMP or rows[name].type().is_timestamp()
    }
    return rows.mutate(**zoned, **{CREATED_TIMESTAMP: zoned[EVENT_TIMESTAMP]}).select(table.schema.names)


def _naive(moment: ir.TimestampValue) -> ir.TimestampValue:
    return moment.cast("timestamp(6)")


def _literal(moment: datetime) -> ir.TimestampScalar:
    return ibis.literal(moment.astimezone(UTC).replace(tzinfo=None), type="timestamp(6)")
