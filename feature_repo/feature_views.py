"""Feature views: one a feature table. `pipelines/features` computes the rows; here is what each column means.

A row's timestamp is the moment its values became knowable, so values stay valid until the next row: no TTL.
"""

from datetime import timedelta

from feast import Entity, FeatureView, Field
from feast.types import Array, Float32, Int64, PrimitiveFeastType, String, UnixTimestamp

from feature_repo.entities import item, user
from feature_repo.owners import PLATFORM
from feature_repo.sources import feature_table

FOREVER = timedelta(0)

Features = dict[str, tuple[PrimitiveFeastType | Array, str]]
"""Feature -> type and meaning."""


def _view(name: str, entity: Entity, features: Features, description: str, *, owner: str = PLATFORM) -> FeatureView:
    key = Field(name=entity.join_key, dtype=String, description=entity.description)
    fields = [Field(name=feature, dtype=dtype, description=meaning) for feature, (dtype, meaning) in features.items()]
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=FOREVER,
        schema=[key, *fields],
        source=feature_table(name),
        description=description,
        owner=owner,
    )


user_activity = _view(
    "user_activity",
    user,
    {
        "user_num_events": (Int64, "events of the user so far"),
        "user_num_events_7d": (Int64, "events of the user in the 7 days up to their last known event"),
        "user_num_events_30d": (Int64, "events of the user in the 30 days up to their last known event"),
        "user_mean_value": (Float32, "mean value of the user's events so far; null while none had a value"),
        "last_known_at": (UnixTimestamp, "when the user's last event became known, in whole seconds"),
    },
    "how much a user did, over several windows, after each of their events",
)
user_history = _view(
    "user_history",
    user,
    {"recent_items": (Array(String), "items of the user's last `features.history_length` events, newest last")},
    "the last items of a user, newest last, after each event",
)
user_taste = _view(
    "user_taste",
    user,
    {
        "taste_categories": (
            Array(String),
            "the `features.taste_length` most frequent categories of what the user did so far, most frequent first",
        ),
        "taste_weights": (Array(Float32), "share of each of these among all categories of what the user did so far"),
    },
    "shares of categories in what a user did so far, after each active day",
)
user_profile = _view(
    "user_profile",
    user,
    {"attributes": (Array(String), "what the source says of the user, such as country=nl")},
    "what a user told, as name=value",
)
user_seen = _view(
    "user_seen",
    user,
    {"seen_items": (Array(String), "the last `features.seen_length` distinct items of the user, newest last")},
    "items a user saw, newest last; the snapshot's state, for serving",
)
user_window = _view(
    "user_window",
    user,
    {
        "window_known_at": (
            Array(Int64),
            "when each event of the user's last 30 days became known, microseconds since 1970, newest last",
        ),
        "value_sum": (String, "sum of the values of the user's events so far, exact, as text"),
        "num_values": (Int64, "events of the user so far that had a value"),
    },
    "state of the windows behind `user_activity`, for serving to slide them on; no model reads it",
)
item_popularity = _view(
    "item_popularity",
    item,
    {
        "item_num_events_1d": (Int64, "events with the item on the last whole day"),
        "item_num_events_7d": (Int64, "events with the item on the last 7 whole days"),
        "item_num_events_30d": (Int64, "events with the item on the last 30 whole days"),
        "item_num_events": (Int64, "events with the item so far, whole days only"),
    },
    "how often an item was used, over several windows of whole days",
)
item_quality = _view(
    "item_quality",
    item,
    {
        "item_mean_value": (Float32, "mean value of the item, drawn to the mean of all items as if by 10 more values"),
        "item_num_values": (Int64, "events with the item so far that had a value, whole days only"),
        "item_value_std": (Float32, "standard deviation of the item's values so far"),
    },
    "an item's mean value, drawn to the mean of all items while it has few values",
)
item_content = _view(
    "item_content",
    item,
    {
        "title": (String, "the item's title"),
        "text": (String, "the item's description; may be null"),
        "categories": (Array(String), "categories of the item"),
    },
    "what an item is",
)
