"""All feature tables of one snapshot, as Ibis expressions over whatever backend holds the raw tables."""

from dataclasses import dataclass
from datetime import datetime

import ibis.expr.types as ir

from pipelines.config import FeatureConfig
from pipelines.contracts import ITEM_ID, USER_ID
from pipelines.features import events as base
from pipelines.features import items, users


@dataclass(frozen=True)
class RawTables:
    """The lake tables a snapshot fixes, as Ibis tables of one backend."""

    events: ir.Table
    items: ir.Table
    users: ir.Table


def feature_tables(
    raw: RawTables, *, config: FeatureConfig, as_of: datetime, delay_seconds: float
) -> dict[str, ir.Table]:
    """Return feature table name -> expression with the columns of its schema.

    Args:
        raw: events, items and users at the snapshot's versions.
        config: lengths of the list features.
        as_of: only rows known strictly before this moment are used.
        delay_seconds: how long after its event a row becomes known, in seconds.
    """
    known = base.known_events(raw.events, as_of=as_of, delay_seconds=delay_seconds)
    item_rows = base.known_rows(raw.items, ITEM_ID, as_of=as_of)
    user_rows = base.known_rows(raw.users, USER_ID, as_of=as_of)
    return {
        "user_activity": users.user_activity(known, as_of=as_of),
        "user_history": users.user_history(known, as_of=as_of, length=config.history_length),
        "user_taste": users.user_taste(known, item_rows, as_of=as_of, length=config.taste_length),
        "user_profile": users.user_profile(user_rows, as_of=as_of),
        "user_seen": users.user_seen(known, as_of=as_of, length=config.seen_length),
        "user_window": users.user_window(known, as_of=as_of, length=config.window_length),
        "item_popularity": items.item_popularity(known, as_of=as_of),
        "item_quality": items.item_quality(known, as_of=as_of),
        "item_content": items.item_content(item_rows, as_of=as_of),
    }
