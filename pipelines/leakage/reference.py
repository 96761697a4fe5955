"""Every feature of a label, worked out of raw rows alone: plain SQL, one row a label, no window, no feature table.

This is a second statement of what `pipelines/features` computes, written from the meaning of each feature: what was
known strictly before the label. It joins each label with all the rows before it, which is slow and beyond doubt.
"""

from dataclasses import dataclass

from pipelines.config import FeatureConfig
from pipelines.contracts import SERVED

DAY = 86_400_000_000
PRIOR_VALUES = 10


@dataclass(frozen=True)
class Rule:
    """Which events a label may see.

    Attributes:
        known: SQL of when an event became known, microseconds since 1970, before the source's delay.
        before: how that compares with the label's moment.
    """

    known: str
    before: str


HONEST = Rule("greatest(epoch_us(event_timestamp), epoch_us(ingested_at))", "<")
OWN_EVENT = Rule(HONEST.known, "<=")
BEFORE_ARRIVAL = Rule("epoch_us(event_timestamp)", "<")

FEATURES = (
    *("user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at"),
    *("recent_items", "taste_categories", "taste_weights", "attributes", "title", "text", "categories"),
    *("item_num_events_1d", "item_num_events_7d", "item_num_events_30d", "item_num_events"),
    *("item_mean_value", "item_num_values", "item_value_std"),
    *("hour", "weekday", "days_since_last_event", "taste_match"),
)


def delayed(delay: int) -> str:
    """Return SQL of how much later than it arrived an event became known: the raw source's delay, none if served."""
    return f"CASE WHEN starts_with(source_partition, '{SERVED}:') THEN 0 ELSE {delay} END" if delay else "0"


def reference(asked: str, rule: Rule, *, features: FeatureConfig, delay: int, as_of: int) -> str:
    """Return SQL of a query with `row` and every feature of `FEATURES`.

    Args:
        asked: table with `row`, `user_id`, `item_id` and `moment`, in microseconds since 1970.
        rule: which events count as known.
        features: lengths of list features.
        delay: the source's delay, microseconds.
        as_of: nothing known from here on exists.
    """
    late = delayed(delay)
    midnight = f"(a.moment - a.moment % {DAY})"
    return f"""
    WITH known AS (
        SELECT user_id, item_id, event_id, value, epoch_us(event_timestamp) AS happened, {rule.known} + {late} AS known
        FROM events WHERE {HONEST.known} + {late} < {as_of}
    ),
    item_rows AS ({_history("items", "item_id", ("title", "text", "categories"), as_of)}),
    user_rows AS ({_history("users", "user_id", ("attributes",), as_of)}),
    mine AS (
        SELECT a.row, a.moment, k.*, max(k.known) OVER (PARTITION BY a.row) AS last
        FROM {asked} a JOIN known k ON k.user_id = a.user_id AND k.known {rule.before} a.moment
    ),
    activity AS (
        SELECT row, count(*) AS user_num_events,
            count(*) FILTER (known >= last - 7 * {DAY}) AS user_num_events_7d,
            count(*) FILTER (known >= last - 30 * {DAY}) AS user_num_events_30d,
            avg(value) AS user_mean_value,
            make_timestamp(max(last) - max(last) % 1000000) AS last_known_at,
            list(item_id ORDER BY known, happened, event_id)[-{features.history_length}:] AS recent_items
        FROM mine GROUP BY row
    ),
    tags AS (
        SELECT m.row, unnest(i.categories) AS category
        FROM mine m ASOF JOIN item_rows i ON i.item_id = m.item_id AND m.known >= i.since
        WHERE m.known < m.moment - m.moment % {DAY}
    ),
    tastes AS (
        SELECT row, category, count(*) AS num, sum(count(*)) OVER (PARTITION BY row) AS total
        FROM tags GROUP BY row, category
        QUALIFY row_number() OVER (PARTITION BY row ORDER BY num DESC, category) <= {features.taste_length}
    ),
    taste AS (
        SELECT row, list(category ORDER BY num DESC, category) AS taste_categories,
            list(num / total ORDER BY num DESC, category) AS taste_weights
        FROM tastes GROUP BY row
    ),
    used AS (
        SELECT a.row, {midnight} AS midnight, k.known, k.value
        FROM {asked} a JOIN known k ON k.item_id = a.item_id AND k.known < {midnight}
    ),
    popularity AS (
        SELECT row, count(*) AS item_num_events,
            count(*) FILTER (known >= midnight - 1 * {DAY}) AS item_num_events_1d,
            count(*) FILTER (known >= midnight - 7 * {DAY}) AS item_num_events_7d,
            count(*) FILTER (known >= midnight - 30 * {DAY}) AS item_num_events_30d
        FROM used GROUP BY row
    ),
    daily AS (
        SELECT known - known % {DAY} AS day, sum(value) AS total, count(value) AS num
        FROM known WHERE value IS NOT NULL GROUP BY day
    ),
    overall AS (
        SELECT day, sum(total) OVER so_far / sum(num) OVER so_far AS mean FROM daily WINDOW so_far AS (ORDER BY day)
    ),
    valued AS (
        SELECT row, count(*) AS num, sum(value) AS total, stddev_pop(value) AS item_value_std,
            max(known) - max(known) % {DAY} AS day
        FROM used WHERE value IS NOT NULL GROUP BY row
    ),
    quality AS (
        SELECT row, (total + {PRIOR_VALUES} * mean) / (num + {PRIOR_VALUES}) AS item_mean_value,
            num AS item_num_values, item_value_std
        FROM valued JOIN overall USING (day)
    ),
    matched AS (
        SELECT c.row, sum(t.num / t.total) AS weight
        FROM (
            SELECT a.row, unnest(i.categories) AS category
            FROM {asked} a ASOF JOIN item_rows i ON i.item_id = a.item_id AND a.moment >= i.since
        ) c JOIN tastes t ON t.row = c.row AND t.category = c.category
        GROUP BY c.row
    )
    SELECT a.row, activity.* EXCLUDE (row), taste.* EXCLUDE (row), popularity.* EXCLUDE (row), quality.* EXCLUDE (row),
        u.attributes, i.title, i.text, i.categories,
        a.moment % {DAY} // {DAY // 24} AS hour, (a.moment // {DAY} + 3) % 7 AS weekday,
        (a.moment - epoch_us(activity.last_known_at)) / {DAY} AS days_since_last_event,
        coalesce(matched.weight, 0) AS taste_match
    FROM {asked} a
    LEFT JOIN activity ON activity.row = a.row LEFT JOIN taste ON taste.row = a.row
    LEFT JOIN popularity ON popularity.row = a.row LEFT JOIN quality ON quality.row = a.row
    LEFT JOIN matched ON matched.row = a.row
    ASOF LEFT JOIN user_rows u ON u.user_id = a.user_id AND a.moment >= u.since
    ASOF LEFT JOIN item_rows i ON i.item_id = a.item_id AND a.moment >= i.since
    """


def _history(table: str, key: str, content: tuple[str, ...], as_of: int) -> str:
    """Rows of a history and since when each holds; of rows with one key and stamp the last by content."""
    by_content = ", ".join(f"CAST({name} AS VARCHAR) DESC" for name in content)
    return f"""
        SELECT {key}, {", ".join(content)}, epoch_us(updated_at) AS since FROM {table}
        WHERE epoch_us(updated_at) < {as_of}
        QUALIFY row_number() OVER (PARTITION BY {key}, updated_at ORDER BY {by_content}) = 1
    """
