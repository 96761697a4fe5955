"""Go back to a release that was champion before, and be sure that serving answers from it."""

from datetime import datetime
from pathlib import Path

from pipelines.config import PromotionConfig
from pipelines.contracts import RECOMMENDER
from pipelines.errors import ConfigError, PromotionError
from pipelines.release.history import History, Move, read_history
from pipelines.release.manifest import verify_release
from pipelines.release.moving import make_champion, only_mover, settle
from pipelines.steps.check_features import feature_problems
from pipelines.stores.base import ModelRegistry
from pipelines.stores.serving_client import ServingClient

MAX_REASON = 2_000  # MLflow keeps a tag of a registered model in 5,000 characters


def rollback_release(
    to: str | None,
    *,
    reason: str,
    by: str,
    run: str,
    at: datetime,
    config: PromotionConfig,
    registry: ModelRegistry,
    serving_url: str,
    lock_file: Path,
) -> Move:
    """Make an earlier release champion again; returns the move, as the registry keeps it.

    Before anything moves, the release is looked at: it is in the registry with the bytes that were registered, its
    index belongs to its query tower, and the feature services it was trained with are declared still. Then it goes as
    in `promote_release`. Killed anywhere and asked again by the same `run`, it ends in the same.

    Args:
        to: version of `recommender`; None is the one that was champion before the one that is now.
        reason: why, for those who look at it later.
        by: who asked for it.
        run: what asked for it, such as a run of a DAG.
        at: when.
        config: how long serving may take.
        registry: has the releases and the alias, and keeps who moved it, when and why.
        serving_url: the serving component.
        lock_file: held meanwhile.

    Raises:
        ConfigError: the reason is too long.
        PromotionError: there is nothing to go back to, no such release, or a feature service it needs is gone; or it
            did not come to be served.
        IntegrityError: its bytes are not those that were registered.
    """
    if len(reason) > MAX_REASON:
        raise ConfigError(f"the reason has {len(reason):,} characters; expected at most {MAX_REASON:,}")
    client, timeout = ServingClient(serving_url), config.serving_timeout_seconds
    with only_mover(lock_file, timeout):
        settled = settle(registry, client, timeout)
        if settled and settled.finished and settled.move.kind == "rollback" and to in (None, settled.move.version):
            return settled.move  # of this very command, which was killed: once more would be one too far
        known = read_history(registry)
        if known.moves and known.moves[-1].run == run:
            return known.moves[-1]
        version = _target(known, to)
        _check_whole(version, registry)
        move = Move(
            number=known.next_number,
            kind="rollback",
            version=version,
            previous=known.champion,
            reason=reason,
            by=by,
            at=at,
            run=run,
        )
        make_champion(move, registry=registry, client=client, timeout_seconds=timeout)
    return move


def _target(known: History, to: str | None) -> str:
    if to is None and (to := known.release_before()) is None:
        now = "there is no champion" if known.champion is None else f"release {known.champion} is champion"
        raise PromotionError(
            f"{now} and no release is known to have been before it; expected an earlier promotion. "
            "Choose a version of `recommender` from MLflow: `tandem rollback --to VERSION`"
        )
    if to == known.champion:
        raise PromotionError(
            f"release {to} is champion; expected another one to go back to. "
            "`tandem status` says whether serving answers from it"
        )
    return to


def _check_whole(version: str, registry: ModelRegistry) -> None:
    """Raise unless serving can answer from the release as it once did."""
    release = registry.get(RECOMMENDER, version)
    if release is None:
        raise PromotionError(
            f"release {version} is not in the registry; expected a version of `recommender` that was not deleted. "
            "Choose one of those in MLflow: `tandem rollback --to VERSION`"
        )
    manifest = verify_release(registry.download(release))
    if problems := feature_problems(manifest, f"release {version}", registry=registry):
        raise PromotionError(
            f"release {version} cannot be served by the features as they are declared: {'; '.join(problems)}. "
            "Go back to the code that declares them, or to another release: `tandem rollback --to VERSION`"
        )
