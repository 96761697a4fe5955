"""Make a release champion, and be sure that serving answers from it."""

from datetime import datetime
from pathlib import Path

from pipelines.config import PromotionConfig
from pipelines.contracts import Comparison, Promotion
from pipelines.errors import PromotionError
from pipelines.release.history import Move, read_history
from pipelines.release.moving import make_champion, only_mover, settle
from pipelines.stores.base import ModelRegistry
from pipelines.stores.serving_client import ServingClient


def promote_release(
    comparison: Comparison,
    *,
    by: str,
    run: str,
    at: datetime,
    config: PromotionConfig,
    registry: ModelRegistry,
    serving_url: str,
    lock_file: Path,
) -> Promotion:
    """Move the alias `champion`, wait until serving reports the release, and try it over HTTP.

    A release that was not accepted changes nothing. When serving does not take the release, or answers wrongly,
    the alias goes back to where it was. What a killed promotion or rollback began is finished or undone first.

    Args:
        comparison: what `compare_release` decided.
        by: who asked for it.
        run: what asked for it, such as a run of a DAG.
        at: when.
        config: how long serving may take.
        registry: has the alias, and keeps who moved it, when and why.
        serving_url: the serving component.
        lock_file: held meanwhile; MLflow has no compare-and-set, so promotions must not overlap.

    Raises:
        PromotionError: another promotion is running, the champion changed since the comparison, or the release
            did not come to be served; the message says which, and where the alias points now.
    """
    release, version = comparison.release, comparison.release.model.version
    previous = comparison.champion_version
    if not comparison.accepted:
        return Promotion(release=release, previous_version=previous, promoted=False, reason=comparison.reason)
    client, timeout = ServingClient(serving_url), config.serving_timeout_seconds
    with only_mover(lock_file, timeout):
        settled = settle(registry, client, timeout)
        known = read_history(registry)
        _check_unmoved(known.champion, expected=previous, version=version)
        move = Move(
            number=known.next_number,
            kind="promotion",
            version=version,
            previous=known.champion,
            reason=comparison.reason,
            by=by,
            at=at,
            run=run,
        )
        remark = make_champion(move, registry=registry, client=client, timeout_seconds=timeout)
    before = f"; before, {settled.note}" if settled else ""
    reason = f"{comparison.reason}; serving answers from it{remark}{before}"
    return Promotion(release=release, previous_version=previous, promoted=True, reason=reason, serving_version=version)


def _check_unmoved(now: str | None, *, expected: str | None, version: str) -> None:
    if now not in (expected, version):
        raise PromotionError(
            f"the champion was version {expected} when release {version} was compared and is {now} now; "
            "run `tandem compare-release` again"
        )
