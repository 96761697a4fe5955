"""Bring Feast's registry to what `feature_repo` declares: what is new or changed is applied, what is gone deleted."""

import warnings
from typing import TYPE_CHECKING, Any

from pipelines.stores.declared import Types, service_types

if TYPE_CHECKING:
    import feast


def apply_declarations(store: "feast.FeatureStore") -> None:
    """Make the registry and the online store hold what is declared, and of this project nothing else.

    Feature tables in the lake stay: training sets of the past are rebuilt from them.
    """
    from feature_repo.repository import declarations

    declared = declarations()
    gone = _left_over(store, declared)
    # Rows go before the registry forgets whose they are: cut off in between, the next run finds the view again.
    _drop_rows(store, [item for item in gone if hasattr(item, "batch_source")])
    with warnings.catch_warnings():
        # Feast warns that its own offline stores are slow on on-demand views; ours is not.
        warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)
        store.apply(declared, objects_to_delete=gone, partial=not gone)


def applied_services(store: "feast.FeatureStore") -> dict[str, Types]:
    """Return feature service -> feature -> Arrow type, as the registry has them; none before anything was applied."""
    return {service.name: service_types(service) for service in store.list_feature_services()}


def _left_over(store: "feast.FeatureStore", declared: list[Any]) -> list[Any]:
    """Return what the registry has of the project and nobody declares any more; entities, which have no rows, stay."""
    kept = {(type(item), item.name) for item in declared}
    there = [*store.list_feature_services(), *store.list_on_demand_feature_views(), *store.list_batch_feature_views()]
    read = {source.name for item in declared for source in _sources(item)}
    sources = [source for source in store.list_data_sources() if source.name not in read]
    return [item for item in there if (type(item), item.name) not in kept] + sources


def _sources(item: Any) -> list[Any]:
    """Return what a declared view reads: a feature table, or a request."""
    of_view = [item.batch_source] if getattr(item, "batch_source", None) is not None else []
    return [*of_view, *getattr(item, "source_request_sources", {}).values()]


def _drop_rows(store: "feast.FeatureStore", views: list[Any]) -> None:
    if views:
        none: dict[str, Any] = {"tables_to_keep": [], "entities_to_delete": [], "entities_to_keep": []}
        store.provider.update_infra(store.project, tables_to_delete=views, partial=False, **none)
