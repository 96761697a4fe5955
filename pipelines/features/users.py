"""Features of users."""

from datetime import datetime

import ibis
import ibis.expr.types as ir

from pipelines.contracts import ITEM_ID, KNOWN_AT, USER_ID
from pipelines.features.events import ARRIVAL, ORDER, in_order, midnight_after, stamped
from pipelines.features.schemas import USER_ACTIVITY, USER_HISTORY, USER_PROFILE, USER_SEEN, USER_TASTE, USER_WINDOW


def user_activity(events: ir.Table, *, as_of: datetime) -> ir.Table:
    """Return counts and the mean value after each moment at which something about a user became known.

    `last_known_at` is cut to whole seconds: that is what an online store keeps, and both must be equal.
    """
    moments = events.group_by(USER_ID, KNOWN_AT).agg(
        num=events.count(), value_sum=events["exact_value"].sum(), num_values=events["value"].count()
    )
    so_far = ibis.window(group_by=USER_ID, order_by=KNOWN_AT, preceding=None, following=0)
    num_values = moments["num_values"].sum().over(so_far)
    value_sum = moments["value_sum"].sum().over(so_far)
    rows = moments.mutate(
        user_num_events=moments["num"].sum().over(so_far).cast("int64"),
        user_num_events_7d=moments["num"].sum().over(_last_days(7)).cast("int64"),
        user_num_events_30d=moments["num"].sum().over(_last_days(30)).cast("int64"),
        user_mean_value=(value_sum.cast("float64") / num_values.nullif(0)).cast("float32"),
        last_known_at=moments[KNOWN_AT].truncate("s"),
    )
    return stamped(rows, USER_ACTIVITY, rows[KNOWN_AT] + ARRIVAL, as_of=as_of)


def user_history(events: ir.Table, *, as_of: datetime, length: int) -> ir.Table:
    """Return the last `length` items of a user, newest last, after each moment at which one became known."""
    rows = events.mutate(
        recent_items=events[ITEM_ID].collect().over(in_order(preceding=length - 1, following=0)),
        next_known_at=events[KNOWN_AT].lead().over(in_order()),
    )
    # Events known in the same microsecond become one row: the value after all of them.
    rows = rows.filter(rows["next_known_at"].isnull() | (rows["next_known_at"] != rows[KNOWN_AT]))
    return stamped(rows, USER_HISTORY, rows[KNOWN_AT] + ARRIVAL, as_of=as_of)


def user_seen(events: ir.Table, *, as_of: datetime, length: int) -> ir.Table:
    """Return one row a user: the last `length` distinct items, by when each was last known, newest last."""
    ranked = events.mutate(rank=ibis.row_number().over(in_order()))
    seen = ranked.group_by(USER_ID, ITEM_ID).agg(rank=ranked["rank"].max(), known_at=ranked[KNOWN_AT].max())
    newest_first = ibis.window(group_by=USER_ID, order_by=seen["rank"].desc())
    kept = seen.mutate(age=ibis.row_number().over(newest_first))
    kept = kept.filter(kept["age"] < length)
    rows = kept.group_by(USER_ID).agg(
        seen_items=kept[ITEM_ID].collect(order_by=kept["rank"]), known_at=kept[KNOWN_AT].max()
    )
    return stamped(rows, USER_SEEN, rows[KNOWN_AT] + ARRIVAL, as_of=as_of)


def user_window(events: ir.Table, *, as_of: datetime, length: int) -> ir.Table:
    """Return one row a user: what serving needs to carry counts and mean forward over events to come.

    That is when each of the last `length` events became known, in microseconds since 1970, as far as it is within 30
    days of the last one; and the sum of all values, exact, as text, with their number.
    """
    last = events[KNOWN_AT].max().over(ibis.window(group_by=USER_ID))
    newest_first = ibis.window(group_by=USER_ID, order_by=[events[name].desc() for name in ORDER])
    aged = events.mutate(
        age=ibis.row_number().over(newest_first), is_recent=events[KNOWN_AT] >= last - ibis.interval(days=30)
    )
    kept = aged["is_recent"] & (aged["age"] < length)
    rows = aged.group_by(USER_ID).agg(
        window_known_at=_microseconds(aged[KNOWN_AT]).collect(where=kept, order_by=aged["age"].desc()),
        value_sum=aged["exact_value"].sum().fill_null(0).cast("string"),
        num_values=aged["value"].count().cast("int64"),
        known_at=aged[KNOWN_AT].max(),
    )
    return stamped(rows, USER_WINDOW, rows[KNOWN_AT] + ARRIVAL, as_of=as_of)


def user_taste(events: ir.Table, items: ir.Table, *, as_of: datetime, length: int) -> ir.Table:
    """Return the categories a user's events fell into so far, with their shares, after each active day.

    An event counts once for each category its item had when the event became known. The `length` largest shares
    are kept, ties by name; shares are of all categories, so those kept sum to at most 1.
    """
    tags = _tags(events, items)
    counts = tags.group_by(USER_ID, "category", "day").agg(num=tags.count())
    # Every category a user ever touched on every active day: a plain running sum then carries each count forward.
    days, categories = counts.select(USER_ID, "day").distinct(), counts.select(USER_ID, "category").distinct()
    grid = days.join(categories, USER_ID)
    filled = grid.left_join(counts, [USER_ID, "category", "day"]).select(
        grid[USER_ID], grid["category"], grid["day"], num=counts["num"].fill_null(0)
    )
    so_far = ibis.window(group_by=[USER_ID, "category"], order_by="day", preceding=None, following=0)
    totals = filled.mutate(total=filled["num"].sum().over(so_far).cast("int64"))
    totals = totals.filter(totals["total"] > 0)
    largest = ibis.window(group_by=[USER_ID, "day"], order_by=[totals["total"].desc(), "category"])
    of_day = ibis.window(group_by=[USER_ID, "day"])
    shares = totals.mutate(
        rank=ibis.row_number().over(largest),
        share=(totals["total"] / totals["total"].sum().over(of_day)).cast("float32"),
    )
    shares = shares.filter(shares["rank"] < length)
    rows = shares.group_by(USER_ID, "day").agg(
        taste_categories=shares["category"].collect(order_by=shares["rank"]),
        taste_weights=shares["share"].collect(order_by=shares["rank"]),
    )
    return stamped(rows, USER_TASTE, midnight_after(rows["day"]), as_of=as_of)


def user_profile(users: ir.Table, *, as_of: datetime) -> ir.Table:
    """Return the attributes of each user, stamped with when they were updated."""
    return stamped(users, USER_PROFILE, users["updated_at"], as_of=as_of)


def _microseconds(moment: ir.TimestampValue) -> ir.IntegerValue:
    """Return whole microseconds since 1970."""
    return moment.truncate("s").epoch_seconds().cast("int64") * 1_000_000 + moment.microsecond().cast("int64")


def _last_days(num_days: int) -> ibis.expr.builders.LegacyWindowBuilder:
    """A trailing window that includes the row itself and events exactly `num_days` before it."""
    return ibis.window(group_by=USER_ID, order_by=KNOWN_AT, range=(-ibis.interval(days=num_days), 0))


def _tags(events: ir.Table, items: ir.Table) -> ir.Table:
    """One row an event and category, by the item row in force when the event became known."""
    until = items["updated_at"].lead().over(ibis.window(group_by=ITEM_ID, order_by="updated_at"))
    versions = items.mutate(valid_until=until).select(ITEM_ID, "categories", "updated_at", "valid_until")
    in_force = events.join(
        versions,
        [
            events[ITEM_ID] == versions[ITEM_ID],
            events[KNOWN_AT] >= versions["updated_at"],
            versions["valid_until"].isnull() | (events[KNOWN_AT] < versions["valid_until"]),
        ],
    )
    return in_force.select(USER_ID, "day", category=in_force["categories"].unnest())
