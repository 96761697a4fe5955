"""Every feature that `feature_repo` declares, and who reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.contracts import CHAMPION, RANKING_MODEL, RECOMMENDER, RETRIEVAL_MODEL
from pipelines.release.manifest import MANIFEST_FILE, ReleaseManifest
from pipelines.stores.base import ModelRegistry
from pipelines.stores.declared import arrow_type, declared_services

NUM_VERSIONS = 10


@dataclass(frozen=True)
class Definition:
    """One feature, as it is declared.

    Attributes:
        name: of the feature.
        kind: Arrow type.
        meaning: what a value says.
        owner: whom to ask before it is changed.
        view: feature view it belongs to.
        view_meaning: what the view says.
        entity: join key; of a feature computed for each request, `request`.
        from_table: whether it is a column of a feature table; else it is computed for each request.
        services: feature services that list it.
    """

    name: str
    kind: str
    meaning: str
    owner: str
    view: str
    view_meaning: str
    entity: str
    from_table: bool
    services: tuple[str, ...]


def definitions() -> tuple[Definition, ...]:
    """Return every declared feature, in the order of the declarations."""
    from feast import FeatureView
    from feast.on_demand_feature_view import OnDemandFeatureView

    from feature_repo.repository import declarations

    services = declared_services()
    return tuple(
        Definition(
            name=field.name,
            kind=arrow_type(field.dtype),
            meaning=field.description or view.tags.get(field.name, ""),
            owner=view.owner,
            view=view.name,
            view_meaning=view.description,
            entity=view.entity_columns[0].name if isinstance(view, FeatureView) else "request",
            from_table=isinstance(view, FeatureView),
            services=tuple(name for name, features in services.items() if field.name in features),
        )
        for view in declarations()
        if isinstance(view, FeatureView | OnDemandFeatureView)
        for field in view.features
    )


@dataclass(frozen=True)
class Reader:
    """A registered model version and the features that it was trained with.

    Attributes:
        model: registered model.
        version: of it.
        champion: whether the champion's release consists of it.
        features: feature -> Arrow type.
    """

    model: str
    version: str
    champion: bool
    features: Mapping[str, str]


def readers(registry: ModelRegistry, *, dataset: str, num_versions: int = NUM_VERSIONS) -> tuple[Reader, ...]:
    """Return the newest `num_versions` versions of each model of a data set, and those of the champion.

    Raises:
        RegistryError: the registry cannot be read.
    """
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    parts = []
    if champion is not None and champion.dataset == dataset:
        manifest = ReleaseManifest.model_validate_json(registry.read_file(champion, MANIFEST_FILE))
        parts = [manifest.retrieval, manifest.ranking]
    served = {(part.name, part.version) for part in parts}
    newest = [
        model
        for name in (RETRIEVAL_MODEL, RANKING_MODEL)
        for model in registry.newest(name, dataset=dataset, num_versions=num_versions)
    ]
    older = [part for part in parts if (part.name, part.version) not in {(m.name, m.version) for m in newest}]
    return tuple(
        Reader(
            model=model.name,
            version=model.version,
            champion=(model.name, model.version) in served,
            features=dict(json.loads(registry.read_file(model, "bundle.json")).get("features", {})),
        )
        for model in [*newest, *older]
    )
