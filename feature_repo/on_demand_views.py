"""Features computed from the request, by the functions that training and serving call directly.

Feast stores the source of these functions and runs it elsewhere, so each imports what it needs itself. It refuses a
described field here, because the one it infers from the function has no description: meanings are tags of the view.
"""

import pandas as pd
from feast import Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Int64

from feature_repo.feature_views import item_content, user_activity, user_taste
from feature_repo.owners import PLATFORM
from feature_repo.sources import request


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast's
    sources=[request],
    schema=[Field(name="hour", dtype=Int64), Field(name="weekday", dtype=Int64)],
    mode="pandas",
    owner=PLATFORM,
    tags={"hour": "hour of the request, 0 to 23, UTC", "weekday": "day of the request, 0 is Monday, UTC"},
    description="hour and weekday (Monday is 0) of the request, UTC",
)
def request_context(inputs: pd.DataFrame) -> pd.DataFrame:
    """Hour and weekday of each request."""
    from pipelines.features import frames

    return frames.request_context(inputs)


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast's
    sources=[request, user_activity[["last_known_at"]]],
    schema=[Field(name="days_since_last_event", dtype=Float32)],
    mode="pandas",
    owner=PLATFORM,
    tags={"days_since_last_event": "days from the user's last known event to the request; null without events"},
    description="days from a user's last known event to the request",
)
def days_since_last_event(inputs: pd.DataFrame) -> pd.DataFrame:
    """Days from each user's last known event."""
    from pipelines.features import frames

    return frames.days_since_last_event(inputs)


@on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast's
    sources=[user_taste, item_content[["categories"]]],
    schema=[Field(name="taste_match", dtype=Float32)],
    mode="pandas",
    owner=PLATFORM,
    tags={"taste_match": "sum of the user's taste weights over the item's categories, 0 to 1"},
    description="share of a user's taste that an item's categories cover",
)
def taste_match(inputs: pd.DataFrame) -> pd.DataFrame:
    """Share of each user's taste that the item covers."""
    from pipelines.features import frames

    return frames.taste_match(inputs)
