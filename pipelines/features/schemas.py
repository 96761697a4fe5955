"""Feature tables: which exist, whose they are, and their columns.

Every table holds its entity's key, its features, and two stamps: `event_timestamp`, the moment the values became
knowable, and `created_timestamp`, which breaks ties. The Feast declarations in `feature_repo` name the same columns.
"""

from dataclasses import dataclass

import pyarrow as pa

from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID

TIMESTAMP = pa.timestamp("us", tz="UTC")
CREATED_TIMESTAMP = "created_timestamp"
STRINGS = pa.list_(pa.string())


@dataclass(frozen=True)
class FeatureTable:
    """One feature table.

    Attributes:
        name: name of the Feast view; the lake table is `features/<name>`.
        entity: join key, `user_id` or `item_id`.
        features: feature name -> Arrow type, in column order.
    """

    name: str
    entity: str
    features: dict[str, pa.DataType]

    @property
    def lake_table(self) -> str:
        """Name of the Delta table in the lake."""
        return f"features/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema: entity, features, stamps."""
        stamps = {EVENT_TIMESTAMP: TIMESTAMP, CREATED_TIMESTAMP: TIMESTAMP}
        return pa.schema({self.entity: pa.string(), **self.features, **stamps})


USER_ACTIVITY = FeatureTable(
    "user_activity",
    USER_ID,
    {
        "user_num_events": pa.int64(),
        "user_num_events_7d": pa.int64(),
        "user_num_events_30d": pa.int64(),
        "user_mean_value": pa.float32(),
        "last_known_at": TIMESTAMP,
    },
)
USER_HISTORY = FeatureTable("user_history", USER_ID, {"recent_items": STRINGS})
USER_TASTE = FeatureTable("user_taste", USER_ID, {"taste_categories": STRINGS, "taste_weights": pa.list_(pa.float32())})
USER_PROFILE = FeatureTable("user_profile", USER_ID, {"attributes": STRINGS})
USER_SEEN = FeatureTable("user_seen", USER_ID, {"seen_items": STRINGS})
USER_WINDOW = FeatureTable(
    "user_window",
    USER_ID,
    {"window_known_at": pa.list_(pa.int64()), "value_sum": pa.string(), "num_values": pa.int64()},
)
ITEM_POPULARITY = FeatureTable(
    "item_popularity",
    ITEM_ID,
    {
        "item_num_events_1d": pa.int64(),
        "item_num_events_7d": pa.int64(),
        "item_num_events_30d": pa.int64(),
        "item_num_events": pa.int64(),
    },
)
ITEM_QUALITY = FeatureTable(
    "item_quality",
    ITEM_ID,
    {"item_mean_value": pa.float32(), "item_num_values": pa.int64(), "item_value_std": pa.float32()},
)
ITEM_CONTENT = FeatureTable("item_content", ITEM_ID, {"title": pa.string(), "text": pa.string(), "categories": STRINGS})

FEATURE_TABLES = {
    table.name: table
    for table in (
        USER_ACTIVITY,
        USER_HISTORY,
        USER_TASTE,
        USER_PROFILE,
        USER_SEEN,
        USER_WINDOW,
        ITEM_POPULARITY,
        ITEM_QUALITY,
        ITEM_CONTENT,
    )
}
