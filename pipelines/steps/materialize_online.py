"""Bring the newest features of every user and item to the online store."""

from pipelines.contracts import FeatureSet
from pipelines.stores.feature_store import FeatureStore


def materialize_online(features: FeatureSet, *, store: FeatureStore) -> FeatureSet:
    """Apply the declarations, materialize, and check what readers now find.

    A value online is never replaced by an older one, so an old snapshot can be materialized again without harm.

    Returns:
        `features` with the number of entities online for each view.

    Raises:
        FeatureStoreError: Feast refused, or an entity is missing online or older there than offline.
    """
    store.apply()
    return features.model_copy(update={"num_online": store.materialize(features)})
