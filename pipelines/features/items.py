"""Features of items. Counts and values are known a day at a time: from midnight, when the day is over."""

from datetime import datetime

import ibis
import ibis.expr.types as ir

from pipelines.contracts import ITEM_ID
from pipelines.features.events import EXACT, midnight_after, stamped
from pipelines.features.schemas import ITEM_CONTENT, ITEM_POPULARITY, ITEM_QUALITY

WINDOWS = (1, 7, 30)
PRIOR_VALUES = 10


def item_popularity(events: ir.Table, *, as_of: datetime) -> ir.Table:
    """Return an item's event counts, one row for each day on which one of them changes.

    They change after a day with events, and again when that day leaves a window.
    """
    daily = events.group_by(ITEM_ID, "day").agg(num=events.count())
    leaving = [daily.select(ITEM_ID, day=daily["day"] + n, num=ibis.literal(0, "int64")) for n in WINDOWS]
    changes = ibis.union(daily, *leaving)
    changes = changes.group_by(ITEM_ID, "day").agg(num=changes["num"].sum())
    so_far = ibis.window(group_by=ITEM_ID, order_by="day", preceding=None, following=0)
    windows = {n: ibis.window(group_by=ITEM_ID, order_by="day", range=(1 - n, 0)) for n in WINDOWS}
    rows = changes.mutate(
        **{f"item_num_events_{n}d": changes["num"].sum().over(window).cast("int64") for n, window in windows.items()},
        item_num_events=changes["num"].sum().over(so_far).cast("int64"),
    )
    return stamped(rows, ITEM_POPULARITY, midnight_after(rows["day"]), as_of=as_of)


def item_quality(events: ir.Table, *, as_of: datetime) -> ir.Table:
    """Return an item's mean value, drawn to the mean of all items so far as if by `PRIOR_VALUES` more values."""
    valued = events.filter(events["value"].notnull())
    valued = valued.mutate(square=(valued["value"] * valued["value"]).cast(EXACT))
    daily = valued.group_by(ITEM_ID, "day").agg(
        num=valued.count(), total=valued["exact_value"].sum(), squares=valued["square"].sum()
    )
    so_far = ibis.window(group_by=ITEM_ID, order_by="day", preceding=None, following=0)
    items = daily.select(
        ITEM_ID,
        "day",
        item_num_values=daily["num"].sum().over(so_far).cast("int64"),
        total=daily["total"].sum().over(so_far).cast("float64"),
        squares=daily["squares"].sum().over(so_far).cast("float64"),
    )
    rows = items.join(_global_mean(daily), "day")
    mean = rows["total"] / rows["item_num_values"]
    spread = ibis.greatest(rows["squares"] / rows["item_num_values"] - mean * mean, 0.0)
    drawn = (rows["total"] + PRIOR_VALUES * rows["global_mean"]) / (rows["item_num_values"] + PRIOR_VALUES)
    rows = rows.mutate(item_mean_value=drawn.cast("float32"), item_value_std=spread.sqrt().cast("float32"))
    return stamped(rows, ITEM_QUALITY, midnight_after(rows["day"]), as_of=as_of)


def item_content(items: ir.Table, *, as_of: datetime) -> ir.Table:
    """Return title, text and categories of each item, stamped with when they were updated."""
    return stamped(items, ITEM_CONTENT, items["updated_at"], as_of=as_of)


def _global_mean(daily: ir.Table) -> ir.Table:
    """The mean of all values up to the end of each day."""
    days = daily.group_by("day").agg(num=daily["num"].sum(), total=daily["total"].sum())
    so_far = ibis.window(order_by="day", preceding=None, following=0)
    total, num = days["total"].sum().over(so_far), days["num"].sum().over(so_far)
    return days.select("day", global_mean=total.cast("float64") / num)
