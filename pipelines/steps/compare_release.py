"""Hold a release against popularity and against the champion."""

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, Comparison, ModelVersion, Release
from pipelines.errors import PromotionError
from pipelines.models.significance import is_shown
from pipelines.release.history import Move, read_history
from pipelines.stores.base import ModelRegistry

POPULARITY = "popularity"


def compare_release(release: Release, *, config: PromotionConfig, registry: ModelRegistry) -> Comparison:
    """Decide whether a release may become champion; the reason is a sentence with the figures.

    A release must beat popularity by `config.min_lift_over_popularity`, and may lose at most
    `config.max_regression` (relative) against a champion of the same data set. Figures of different data sets
    do not compare, so against a champion of another one popularity alone decides. Where the champion was evaluated
    on the same users, the reason also says whether the difference could be chance; that decides nothing. A release
    that people went back from is refused, whatever its figures.

    Args:
        release: the candidate.
        config: metric and margins.
        registry: knows the champion.

    Raises:
        PromotionError: the metric was not measured for the release or for popularity.
    """
    value = _measured(release, config.metric)
    popularity = _measured(release, f"{POPULARITY}_{config.metric}")
    figures = {RECOMMENDER: value, POPULARITY: popularity}
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    accepted, reason = _against_popularity(config, value, popularity)
    best = _champions(release, champion, config.metric) if champion else None
    if best is not None:
        figures[CHAMPION] = best
    if accepted and champion is not None:
        accepted, verdict = _against_champion(release, champion, config, value, best)
        reason = f"{reason}; {verdict}"
    if accepted and (back := read_history(registry).taken_back(release.model.version)):
        accepted, reason = False, f"{reason}; {_taken_back(back)}"
    return Comparison(
        release=release,
        champion_version=champion.version if champion else None,
        accepted=accepted,
        reason=reason if champion else f"{reason}; there is no champion yet",
        figures=figures,
    )


def _measured(release: Release, metric: str) -> float:
    try:
        return release.metrics[metric]
    except KeyError as error:
        raise PromotionError(
            f"release {release.model.version} has no metric {metric!r}; measured are "
            f"{', '.join(sorted(release.metrics))}. Choose one of them as promotion.metric"
        ) from error


def _against_popularity(config: PromotionConfig, value: float, popularity: float) -> tuple[bool, str]:
    needed = popularity * (1 + config.min_lift_over_popularity)
    figures = f"{config.metric} {value:.4f} against popularity's {popularity:.4f} (at least {needed:.4f} needed)"
    return (True, f"{figures}: better") if value >= needed else (False, f"{figures}: not good enough")


def _champions(release: Release, champion: ModelVersion, metric: str) -> float | None:
    """The champion's figure: on this release's holdout where it was evaluated there, else on its own."""
    if champion.dataset != release.model.dataset:
        return None
    return release.metrics.get(f"{CHAMPION}_{metric}", champion.metrics.get(metric))


def _against_champion(
    release: Release, champion: ModelVersion, config: PromotionConfig, value: float, best: float | None
) -> tuple[bool, str]:
    if champion.version == release.model.version:
        return True, f"version {champion.version} is the champion already"
    if champion.dataset != release.model.dataset:
        return True, (
            f"champion {champion.version} was made from data set {champion.dataset!r}, this one from "
            f"{release.model.dataset!r}: not compared with it"
        )
    if best is None:
        return True, f"champion {champion.version} was not measured by {config.metric}: not compared with it"
    needed = best * (1 - config.max_regression)
    verdict = "accepted" if value >= needed else "refused"
    figures = f"champion {champion.version} has {best:.4f} (at least {needed:.4f} needed): {verdict}"
    return value >= needed, figures + _on_the_same_users(release, config.metric)


def _taken_back(back: Move) -> str:
    why = f" ({back.reason})" if back.reason else ""
    return (
        f"but {back.by} went back from it to release {back.version} at {back.at:%Y-%m-%d %H:%M} UTC{why}: refused. "
        f"`tandem rollback --to {back.previous}` makes it champion all the same"
    )


def _on_the_same_users(release: Release, metric: str) -> str:
    """Say whether the difference that decided could be chance; empty where the champion was not measured beside."""
    found = release.differences.get(metric, {}).get(CHAMPION)
    if found is None:
        return ""
    told = "is" if is_shown(found) else "is not"
    return (
        f"; on the same {found['num_users']:.0f} users the difference is {found['difference']:+.4f} (95 % "
        f"{found['low']:+.4f} to {found['high']:+.4f}), which {told} told from chance"
    )
