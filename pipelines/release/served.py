"""Is a release served, and are its answers answers?"""

import time

from pipelines.errors import PlatformError, PromotionError
from pipelines.stores.serving_client import Json, ServingClient

POLL_SECONDS = 0.25
UNKNOWN_USER = "tandem-smoke-test-of-an-unknown-user"
SMOKE_COUNT = 10


def see_served(client: ServingClient, version: str, timeout_seconds: float) -> str:
    """Wait until serving answers from a release and try it over HTTP; returns what an operator should know.

    Raises:
        PromotionError: serving refused the release, or an answer is not as expected.
        PlatformError: serving did not report it in time.
    """
    _wait_until_served(client, version, timeout_seconds)
    return _smoke_test(client, version)


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
