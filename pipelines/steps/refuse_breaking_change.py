"""Stop before a change of features reaches the feature store that would break a release that is served."""

from collections.abc import Callable, Iterator, Mapping

from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.errors import DeclarationError, PlatformError, RegistryError, RequestError
from pipelines.release.history import read_history
from pipelines.release.manifest import ReleaseManifest, read_manifest
from pipelines.steps.check_features import feature_problems
from pipelines.stores.base import ModelRegistry
from pipelines.stores.declared import Types, declared_services
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.serving_client import ServingClient

REMEDY = (
    "Put it back, and declare the change in a new version of the service, as docs/features.md says; "
    "`tandem check-features` tells when it is right"
)


def refuse_breaking_change(
    *, dataset: str, store: FeatureStore, open_registry: Callable[[], ModelRegistry], serving: ServingClient
) -> None:
    """Raise if the declared features would break a release of the data set that is served; nothing is changed.

    What was applied last is looked at first: while no service loses or retypes a feature, nothing can break, and the
    model registry is not asked. So bringing features online needs it for a change that takes something away alone.

    Args:
        dataset: whose features are going to be applied; champions of others have a feature store of their own.
        store: knows what was applied last.
        open_registry: opens the registry, which knows the champion and the one that is about to be.
        serving: the serving component, which may answer from a release before those; it need not be up.

    Raises:
        DeclarationError: a release that is served reads what is taken away.
        RegistryError: something is taken away, and the registry cannot be asked who reads it.
    """
    applied = store.applied_services()
    taken = taken_away(applied, declared_services())
    if not taken:
        return
    try:
        registry = open_registry()
        problems = [
            problem
            for name, manifest in _served(registry, serving)
            if manifest.dataset == dataset
            for problem in feature_problems(manifest, name, registry=registry, applied=applied)
        ]
    except RegistryError as error:
        raise RegistryError(
            f"{'; '.join(taken)}, and whether the champion reads it cannot be told: {error}. "
            "Nothing was applied. Run this again when MLflow answers, or put it back"
        ) from error
    if problems:
        raise DeclarationError(
            f"the declared features would break what is served: {'; '.join(problems)}. Nothing was applied. {REMEDY}"
        )


def taken_away(applied: Mapping[str, Types], declared: Mapping[str, Types]) -> list[str]:
    """Return a clause for each service that is gone, and each feature that a service lost or has as another type."""
    found = []
    for service, features in applied.items():
        if service not in declared:
            found.append(f"service {service} is not declared any more")
            continue
        there = declared[service]
        found += [f"service {service} lost feature {name}" for name in features if name not in there]
        found += [
            f"feature {name} of service {service} became {there[name]} from {kind}"
            for name, kind in features.items()
            if name in there and there[name] != kind
        ]
    return found


def _served(registry: ModelRegistry, serving: ServingClient) -> Iterator[tuple[str, ReleaseManifest]]:
    """Yield the champion, both sides of a move that was begun, and what serving answers from, each once."""
    known = read_history(registry)
    moving = (known.pending.version, known.pending.previous) if known.pending else ()
    for version in dict.fromkeys((known.champion, *moving, _answers_from(serving))):
        release = registry.get(RECOMMENDER, version) if version is not None else None
        if release is not None:
            name = f"the {CHAMPION}" if version == known.champion else f"release {version}"
            yield name, read_manifest(registry.download(release))


def _answers_from(serving: ServingClient) -> str | None:
    try:
        version = serving.release()["version"]
    except (PlatformError, RequestError):
        return None  # it loads the champion when it comes back
    return None if version is None else str(version)
