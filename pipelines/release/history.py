"""Which release was champion when, who made it that and why: tags of the registered model `recommender`.

A move is written down before the alias moves (`PENDING`), and kept under its number once serving answers. So whoever
comes after a process that was killed in between knows what it was about.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pipelines.contracts import CHAMPION, RECOMMENDER, Ref, UtcDatetime
from pipelines.stores.base import ModelRegistry

MOVE = "tandem.champion."
PENDING = "tandem.champion-moving"


class Move(Ref):
    """The alias `champion` moved: which way, why, by whom and when. MLflow keeps each as a tag of `recommender`."""

    number: int = Field(description="1, 2, 3, ... in order of time")
    kind: Literal["promotion", "rollback"]
    version: str = Field(description="version of `recommender` that became champion")
    previous: str | None = Field(description="champion before; None if there was none")
    reason: str
    by: str
    at: UtcDatetime
    run: str = Field(description="what asked for it; asked again by the same run, nothing moves twice")


@dataclass(frozen=True)
class History:
    """Every move of the alias `champion` that Tandem made.

    Attributes:
        moves: oldest first.
        pending: begun, and neither finished nor undone.
        champion: version behind the alias now, whoever put it there.
    """

    moves: tuple[Move, ...]
    pending: Move | None
    champion: str | None

    @property
    def next_number(self) -> int:
        """Number of the next move."""
        return 1 + max((move.number for move in self.moves), default=0)

    def release_before(self) -> str | None:
        """Return the version that was champion before the one that is now; None if none is known."""
        trail = _trail(self.moves, self.champion)
        if self.champion is None:
            return trail[-1] if trail else None
        return trail[-2] if len(trail) > 1 else None

    def taken_back(self, version: str) -> Move | None:
        """Return the rollback that left a version, unless it became champion again."""
        for move in reversed(self.moves):
            if move.version == version:
                return None
            if move.kind == "rollback" and move.previous == version:
                return move
        return None


def read_history(registry: ModelRegistry) -> History:
    """Return what the registry knows of moves; earlier versions of Tandem wrote none down.

    Raises:
        RegistryError: the registry cannot be read.
    """
    tags = registry.tags(RECOMMENDER)
    champion = registry.by_alias(RECOMMENDER, CHAMPION)
    moves = [Move.model_validate_json(value) for tag, value in tags.items() if tag.startswith(MOVE)]
    return History(
        moves=tuple(sorted(moves, key=lambda move: move.number)),
        pending=Move.model_validate_json(tags[PENDING]) if PENDING in tags else None,
        champion=champion.version if champion else None,
    )


def begin(registry: ModelRegistry, move: Move) -> None:
    """Write down what is going to be done."""
    registry.set_tag(RECOMMENDER, PENDING, move.model_dump_json())


def keep(registry: ModelRegistry, move: Move) -> None:
    """Write down what was done; killed in the middle and done again, it is there once."""
    registry.set_tag(RECOMMENDER, f"{MOVE}{move.number:06}", move.model_dump_json())
    drop(registry)


def drop(registry: ModelRegistry) -> None:
    """Forget what was begun: it is finished or undone."""
    registry.set_tag(RECOMMENDER, PENDING, None)


def _trail(moves: Iterable[Move], champion: str | None) -> Sequence[str]:
    """Return champions, oldest first, as one meets them going back from `champion`, the last.

    A promotion adds to the trail, a rollback shortens it: so going back twice does not return to where it began.
    What people moved in MLflow shows as a move that begins elsewhere than the one before ended.
    """
    trail: list[str] = []
    for move in moves:
        _stand_at(trail, move.previous)
        if move.kind == "promotion":
            trail.append(move.version)
        else:
            _stand_at(trail, move.version)
    _stand_at(trail, champion)
    return trail


def _stand_at(trail: list[str], version: str | None) -> None:
    if version is None:
        return
    while version in trail[:-1] and trail[-1] != version:
        trail.pop()
    if trail[-1:] != [version]:
        trail.append(version)
