"""Bring the newest features of every user and item to the online store."""

from datetime import datetime, timedelta

from pipelines.contracts import FeatureSet
from pipelines.stores.feature_store import FeatureStore


def materialize_online(
    features: FeatureSet,
    *,
    store: FeatureStore,
    since: datetime | None = None,
    lookback: timedelta = timedelta(0),
    clock: datetime | None = None,
) -> FeatureSet:
    """Apply the declarations, write the window from `since - lookback` to the snapshot's `as_of`, and audit.

    A value online is never replaced by an older one, so an old snapshot can be materialized again without harm. A
    feature set that was materialized before is audited only.

    Args:
        features: the feature tables of a snapshot.
        store: the feature store.
        since: end of the last window; None is everything.
        lookback: how much of the last window is written again, for rows that came late.
        clock: the present, from which freshness counts; None is the snapshot's moment.

    Returns:
        `features` with the number of entities online for each view.

    Raises:
        FeatureStoreError: Feast refused, an entity cannot be brought online, or an event time went back.
    """
    store.apply()
    num_online = store.materialize(features, since=since, lookback=lookback, clock=clock)
    return features.model_copy(update={"num_online": num_online})
