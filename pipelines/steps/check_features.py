"""Would the declared features still serve the champion?"""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.contracts import CHAMPION, RECOMMENDER, FeatureCheck
from pipelines.release.manifest import ReleaseManifest, read_manifest
from pipelines.stores.base import ModelRegistry
from pipelines.stores.declared import Types, declared_services

FROM_REQUEST = {"hour", "weekday", "days_since_last_event", "taste_match"}
"""Features that serving computes itself, from the request and the others."""


def check_features(*, registry: ModelRegistry) -> FeatureCheck:
    """Compare what `feature_repo` declares with what the champion was trained with and what serving reads for it.

    The champion's release names a feature service for each of its models and for the read of a user. Each must be
    declared still, and give every feature that its model or serving itself reads, of the same type: the champion
    answers until another release does, and the next training run of the same service must mean the same by it.

    Args:
        registry: knows the champion and has its models.

    Raises:
        RegistryError: the registry cannot be read.
    """
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    if champion is None:
        return FeatureCheck(champion_version=None, problems=())
    problems = feature_problems(read_manifest(registry.download(champion)), "the champion", registry=registry)
    return FeatureCheck(champion_version=champion.version, problems=problems)


def feature_problems(
    manifest: ReleaseManifest, release: str, *, registry: ModelRegistry, applied: Mapping[str, Types] | None = None
) -> tuple[str, ...]:
    """Return what of the declared features would break a release, a sentence each.

    Types are compared where the release's models are in the registry; it is served without them, too.

    Args:
        manifest: the release's.
        release: what messages call it.
        registry: has its models.
        applied: service -> feature -> type as serving reads them now, for releases whose manifest is older than its
            `user_features`; None where the feature store was not asked.
    """
    declared = declared_services()
    problems = []
    of_users: Types = manifest.user_features or dict((applied or {}).get(manifest.feature_services["user"], {}))
    for role, model in (("retrieval", manifest.retrieval), ("ranking", manifest.ranking)):
        there = registry.get(model.name, model.version)
        read = _features(registry.download(there)) if there else {}
        problems += _compare(manifest.feature_services[role], f"the {role} model of {release}", read, declared)
        of_users = of_users | {name: kind for name, kind in read.items() if name in _user_features(declared)}
    problems += _compare(manifest.feature_services["user"], f"serving of {release}", of_users, declared)
    return tuple(dict.fromkeys(problems))


def _features(bundle: Path) -> Types:
    """Feature -> type that a model was trained with; empty for models of before this was written down."""
    return dict(json.loads((bundle / "bundle.json").read_text()).get("features", {}))


def _user_features(declared: dict[str, Types]) -> set[str]:
    """Features that are read for a user: of training services, what no item and no request has."""
    items = {name for service, features in declared.items() if service.startswith("item_") for name in features}
    return {
        name
        for service, features in declared.items()
        if service.startswith(("retrieval_", "ranking_", "serving_user_"))
        for name in features
        if name not in items and name not in FROM_REQUEST
    }


def _compare(service: str, reader: str, read: Types, declared: dict[str, Types]) -> list[str]:
    there = declared.get(service)
    if there is None:
        return [f"service {service} is not declared; {reader} needs it. Keep it until no release does"]
    problems = []
    for name, kind in read.items():
        if name not in there:
            problems.append(
                f"feature {name} is not in service {service}; {reader} reads it. Put it back, and "
                "leave it out of a new version of the service"
            )
        elif there[name] != kind:
            problems.append(
                f"feature {name} of service {service} is {there[name]}; {reader} expects "
                f"{kind}. Declare the new type under a new name, in a new version of the service"
            )
    return problems
