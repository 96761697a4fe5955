"""Feature views: one a feature table. `pipelines/features` computes the rows and says what each column means.

A row's timestamp is the moment its values became knowable, so values stay valid until the next row: no TTL.
"""

from datetime import timedelta

from feast import Entity, FeatureView, Field
from feast.types import Array, Float32, Int64, PrimitiveFeastType, String, UnixTimestamp

from feature_repo.entities import item, user
from feature_repo.sources import feature_table

FOREVER = timedelta(0)


def _view(name: str, entity: Entity, features: dict[str, PrimitiveFeastType | Array], description: str) -> FeatureView:
    key = Field(name=entity.join_key, dtype=String)
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=FOREVER,
        schema=[key, *(Field(name=feature, dtype=dtype) for feature, dtype in features.items())],
        source=feature_table(name),
        description=description,
    )


user_activity = _view(
    "user_activity",
    user,
    {
        "user_num_events": Int64,
        "user_num_events_7d": Int64,
        "user_num_events_30d": Int64,
        "user_mean_value": Float32,
        "last_known_at": UnixTimestamp,
    },
    "how much a user did, over several windows, after each of their events",
)
user_history = _view(
    "user_history", user, {"recent_items": Array(String)}, "the last items of a user, newest last, after each event"
)
user_taste = _view(
    "user_taste",
    user,
    {"taste_categories": Array(String), "taste_weights": Array(Float32)},
    "shares of categories in what a user did so far, after each active day",
)
user_profile = _view("user_profile", user, {"attributes": Array(String)}, "what a user told, as name=value")
user_seen = _view(
    "user_seen", user, {"seen_items": Array(String)}, "items a user saw, newest last; the snapshot's state, for serving"
)
user_window = _view(
    "user_window",
    user,
    {"window_known_at": Array(Int64), "value_sum": String, "num_values": Int64},
    "state of the windows behind `user_activity`, for serving to slide them on; no model reads it",
)
item_popularity = _view(
    "item_popularity",
    item,
    {
        "item_num_events_1d": Int64,
        "item_num_events_7d": Int64,
        "item_num_events_30d": Int64,
        "item_num_events": Int64,
    },
    "how often an item was used, over several windows of whole days",
)
item_quality = _view(
    "item_quality",
    item,
    {"item_mean_value": Float32, "item_num_values": Int64, "item_value_std": Float32},
    "an item's mean value, drawn to the mean of all items while it has few values",
)
item_content = _view(
    "item_content", item, {"title": String, "text": String, "categories": Array(String)}, "what an item is"
)
