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

_RETRIEVAL = [
    user_activity,
    user_history,
    user_taste,
    user_profile,
    item_content,
    item_popularity,
    request_context,
    days_since_last_event,
]

retrieval_v1 = FeatureService(name="retrieval_v1", features=_RETRIEVAL, description="the two-tower model")
ranking_v1 = FeatureService(
    name="ranking_v1", features=[*_RETRIEVAL, item_quality, taste_match], description="the ranking model"
)
serving_user_v1 = FeatureService(
    name="serving_user_v1",
    features=[user_activity, user_history, user_taste, user_profile, user_seen],
    description="one user, read for each request",
)
serving_user_v2 = FeatureService(
    name="serving_user_v2",
    features=[user_activity, user_history, user_taste, user_profile, user_seen, user_window],
    description="one user, read for each request, with what carries features forward over events of the last minutes",
)
item_v1 = FeatureService(
    name="item_v1",
    features=[item_content, item_popularity, item_quality],
    description="items, as a release carries them",
)
