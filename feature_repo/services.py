"""Feature services: what one model or caller reads, by version. A released version is never changed."""

from feast import FeatureService

from feature_repo.feature_views import (
    item_content,
    item_popularity,
    item_quality,
    user_activity,
    user_history,
    user_profile,
    user_seen,
    user_taste,
    user_window,
)
from feature_repo.on_demand_views import days_since_last_event, request_context, taste_match
from feature_repo.owners import PLATFORM

# Features are listed by name: one that a view gains later is in no service until a new version of it lists it.
_ACTIVITY = user_activity[
    ["user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "last_known_at"]
]
_HISTORY = user_history[["recent_items"]]
_TASTE = user_taste[["taste_categories", "taste_weights"]]
_PROFILE = user_profile[["attributes"]]
_SEEN = user_seen[["seen_items"]]
_WINDOW = user_window[["window_known_at", "value_sum", "num_values"]]
_CONTENT = item_content[["title", "text", "categories"]]
_POPULARITY = item_popularity[["item_num_events_1d", "item_num_events_7d", "item_num_events_30d", "item_num_events"]]
_QUALITY = item_quality[["item_mean_value", "item_num_values", "item_value_std"]]
_RETRIEVAL = [_ACTIVITY, _HISTORY, _TASTE, _PROFILE, _CONTENT, _POPULARITY, request_context, days_since_last_event]

retrieval_v1 = FeatureService(
    name="retrieval_v1", features=_RETRIEVAL, description="the two-tower model", owner=PLATFORM
)
ranking_v1 = FeatureService(
    name="ranking_v1", features=[*_RETRIEVAL, _QUALITY, taste_match], description="the ranking model", owner=PLATFORM
)
serving_user_v1 = FeatureService(
    name="serving_user_v1",
    features=[_ACTIVITY, _HISTORY, _TASTE, _PROFILE, _SEEN],
    description="one user, read for each request",
    owner=PLATFORM,
)
serving_user_v2 = FeatureService(
    name="serving_user_v2",
    features=[_ACTIVITY, _HISTORY, _TASTE, _PROFILE, _SEEN, _WINDOW],
    description="one user, read for each request, with what carries features forward over events of the last minutes",
    owner=PLATFORM,
)
item_v1 = FeatureService(
    name="item_v1",
    features=[_CONTENT, _POPULARITY, _QUALITY],
    description="items, as a release carries them",
    owner=PLATFORM,
)
