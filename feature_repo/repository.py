"""Everything that is declared, as one list to apply."""

from typing import Any

from feature_repo import entities, feature_views, on_demand_views, services


def declarations() -> list[Any]:
    """Return entities, views, on-demand views and services."""
    views = [
        feature_views.user_activity,
        feature_views.user_history,
        feature_views.user_taste,
        feature_views.user_profile,
        feature_views.user_seen,
        feature_views.user_window,
        feature_views.item_popularity,
        feature_views.item_quality,
        feature_views.item_content,
    ]
    on_demand = [on_demand_views.request_context, on_demand_views.days_since_last_event, on_demand_views.taste_match]
    served = [
        services.retrieval_v1,
        services.ranking_v1,
        services.serving_user_v1,
        services.serving_user_v2,
        services.item_v1,
    ]
    return [entities.user, entities.item, *views, *on_demand, *served]
