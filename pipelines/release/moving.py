"""Move the alias `champion` as a transaction: serving answers from the release, or the alias is back where it was."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts import CHAMPION, RECOMMENDER
from pipelines.errors import PromotionError, TandemError
from pipelines.release import history
from pipelines.release.history import Move
from pipelines.release.served import POLL_SECONDS, see_served
from pipelines.stores.base import ModelRegistry
from pipelines.stores.serving_client import ServingClient

DONE = {"promotion": "promoted", "rollback": "restored"}


@dataclass(frozen=True)
class Settled:
    """What became of a move that was cut off.

    Attributes:
        move: what was begun.
        finished: whether it is done now; else it is undone.
        note: the same in words.
    """

    move: Move
    finished: bool
    note: str


@contextmanager
def only_mover(file: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold `file` exclusively; the operating system lets go of it when the process dies.

    MLflow has no compare-and-set, so moves of the alias must not overlap.

    Raises:
        PromotionError: another process held it all the time.
    """
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


def is_moving(file: Path) -> bool:
    """Return whether a process holds `file` as the only mover."""
    if not file.exists():
        return False
    with file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def make_champion(move: Move, *, registry: ModelRegistry, client: ServingClient, timeout_seconds: float) -> str:
    """Move the alias, wait until serving answers from the release, and try it; returns what to know of the answers.

    When serving does not take the release, or answers wrongly, the alias goes back to where it was. A process killed
    meanwhile leaves its intention behind, for `settle`. Call it as the only mover.

    Raises:
        PromotionError: the release did not come to be served; the message says why, and where the alias points now.
    """
    if move.previous != move.version:
        history.begin(registry, move)
    try:
        registry.set_alias(RECOMMENDER, CHAMPION, move.version)
        remark = see_served(client, move.version, timeout_seconds)
        _check_still_champion(registry, move.version)
    except TandemError as error:
        now = _try_to_put_back(registry, move)
        raise PromotionError(f"release {move.version} was not {DONE[move.kind]}: {error}. {now}") from error
    if move.previous != move.version:
        history.keep(registry, move)
    return remark


def settle(registry: ModelRegistry, client: ServingClient, timeout_seconds: float) -> Settled | None:
    """Finish the move that a killed process began, if serving answers from it, else undo it; None if there is none.

    Call it as the only mover: then nobody is at it.

    Raises:
        RegistryError: the registry cannot be read or written; the move stays begun.
    """
    known = history.read_history(registry)
    if (move := known.pending) is None:
        return None
    begun = f"a {move.kind} of release {move.version} was cut off"
    if known.champion == move.version:
        try:
            see_served(client, move.version, timeout_seconds)
        except TandemError as error:
            return Settled(move, finished=False, note=f"{begun}, and is undone: {error}. {_put_back(registry, move)}")
        history.keep(registry, move)
        return Settled(move, finished=True, note=f"{begun}; serving answers from it, so it is finished")
    history.drop(registry)
    where = "there is no champion" if known.champion is None else f"release {known.champion} is champion"
    return Settled(move, finished=False, note=f"{begun} and is given up: {where}")


def _check_still_champion(registry: ModelRegistry, version: str) -> None:
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    now = champion.version if champion else None
    if now != version:
        raise PromotionError(f"the alias {CHAMPION!r} points at version {now}; another writer moved it")


def _try_to_put_back(registry: ModelRegistry, move: Move) -> str:
    try:
        return _put_back(registry, move)
    except TandemError as error:
        return (
            f"The alias {CHAMPION!r} could not be put back to version {move.previous}: {error}. "
            "`tandem up`, or the next promotion, tries again"
        )


def _put_back(registry: ModelRegistry, move: Move) -> str:
    """Point the alias back, unless someone else has moved it meanwhile; returns where it points."""
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    if champion is not None and champion.version != move.version:
        said = f"The alias {CHAMPION!r} was left at version {champion.version}, where another writer put it"
    elif move.previous is None:
        registry.clear_alias(RECOMMENDER, CHAMPION)
        said = f"There is no {CHAMPION} now, as before"
    else:
        registry.set_alias(RECOMMENDER, CHAMPION, move.previous)
        said = f"Version {move.previous} is {CHAMPION} again"
    history.drop(registry)
    return said
