"""Make a release champion, and be sure that serving answers from it."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.config import PromotionConfig
from pipelines.contracts import CHAMPION, RECOMMENDER, Comparison, Promotion
from pipelines.errors import PlatformError, PromotionError, TandemError
from pipelines.stores.base import ModelRegistry
from pipelines.stores.serving_client import Json, ServingClient

POLL_SECONDS = 0.25
UNKNOWN_USER = "tandem-smoke-test-of-an-unknown-user"
SMOKE_COUNT = 10


def promote_release(
    comparison: Comparison,
    *,
    config: PromotionConfig,
    registry: ModelRegistry,
    serving_url: str,
    lock_file: Path,
) -> Promotion:
    """Move the alias `champion`, wait until serving reports the release, and try it over HTTP.

    A release that was not accepted changes nothing. When serving does not take the release, or answers wrongly,
    the alias goes back to where it was. Running it again after a kill finishes or undoes what was begun.

    Args:
        comparison: what `compare_release` decided.
        config: how long serving may take.
        registry: has the alias.
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
    client = ServingClient(serving_url)
    with _lock(lock_file, config.serving_timeout_seconds):
        _check_unmoved(registry, expected=previous, version=version)
        try:
            registry.set_alias(RECOMMENDER, CHAMPION, version)
            _wait_until_served(client, version, config.serving_timeout_seconds)
            remark = _smoke_test(client, version)
            _check_still_champion(registry, version)
        except TandemError as error:
            now = _restore(registry, previous, version)
            raise PromotionError(f"release {version} was not promoted: {error}. {now}") from error
    reason = f"{comparison.reason}; serving answers from it{remark}"
    return Promotion(release=release, previous_version=previous, promoted=True, reason=reason, serving_version=version)


@contextmanager
def _lock(file: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold `file` exclusively; the operating system lets go of it when the process dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    with file.open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise PromotionError(
                        f"another promotion has held {file} for {timeout_seconds:.0f} s; "
                        "wait for it and run this one again"
                    ) from error
                time.sleep(POLL_SECONDS)
        yield


def _check_unmoved(registry: ModelRegistry, *, expected: str | None, version: str) -> None:
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    now = champion.version if champion else None
    if now not in (expected, version):
        raise PromotionError(
            f"the champion was version {expected} when release {version} was compared and is {now} now; "
            "run `tandem compare-release` again"
        )


def _wait_until_served(client: ServingClient, version: str, timeout_seconds: float) -> None:
    """Wait for the release; a refusal by serving is final, its absence is not.

    Raises:
        PromotionError: serving refused the release.
        PlatformError: serving did not report it in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            state = client.release()
            if state["version"] == version:
                return
            if why := state["refused"].get(version):
                raise PromotionError(f"serving refused it: {why}")
            remark = state.get("reason") or state.get("degraded") or "no problem"
            last = f"it answers from version {state['version']} ({remark})"
        except PlatformError as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise PlatformError(f"serving at {client.url} did not report it within {timeout_seconds:.0f} s: {last}")
        time.sleep(POLL_SECONDS)


def _smoke_test(client: ServingClient, version: str) -> str:
    """Ask for a known user, an unknown one, and similar items; returns what an operator should know.

    Raises:
        PromotionError: an answer is empty, repeats an item, or is of another release.
    """
    users: list[str] = client.release()["sample_users"]
    known = users[0] if users else UNKNOWN_USER
    answers = {
        f"recommendations for user {known!r}": client.recommend(known, count=SMOKE_COUNT),
        "recommendations for an unknown user": client.recommend(UNKNOWN_USER, count=SMOKE_COUNT),
    }
    first, *_ = answers.values()
    for what, answer in answers.items():
        _check_answer(what, answer, version)
    item = first["items"][0]["item_id"]
    _check_answer(f"items similar to {item!r}", client.similar(item, count=SMOKE_COUNT), version)
    return f", with {', '.join(first['degraded'])} degraded" if first["degraded"] else ""


def _check_answer(what: str, answer: Json, version: str) -> None:
    served = answer["release"]["version"]
    if served != version:
        raise PromotionError(f"{what} came from release {served}; expected {version}")
    ids = [item["item_id"] for item in answer["items"]]
    if not ids or len(ids) != len(set(ids)):
        raise PromotionError(f"{what} are {ids}; expected at least one item and no item twice")


def _check_still_champion(registry: ModelRegistry, version: str) -> None:
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    now = champion.version if champion else None
    if now != version:
        raise PromotionError(f"the alias {CHAMPION!r} points at version {now}; another writer moved it")


def _restore(registry: ModelRegistry, previous: str | None, version: str) -> str:
    """Point the alias back, unless someone else has moved it meanwhile; returns where it points."""
    try:
        champion = registry.by_alias(RECOMMENDER, CHAMPION)
        if champion is not None and champion.version != version:
            return f"The alias {CHAMPION!r} was left at version {champion.version}, where another writer put it"
        if previous is None:
            registry.clear_alias(RECOMMENDER, CHAMPION)
            return f"There is no {CHAMPION} now, as before"
        registry.set_alias(RECOMMENDER, CHAMPION, previous)
        return f"Version {previous} is {CHAMPION} again"
    except TandemError as error:
        return f"The alias {CHAMPION!r} could not be put back to version {previous}: {error}"
