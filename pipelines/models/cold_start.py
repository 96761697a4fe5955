"""Whether those a recommender knows least are served: slices of the holdout, each with a goal against popularity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import ColdStartConfig

NEW_USERS, SPARSE_USERS, NEW_ITEMS = "new users", "sparse users", "new items"
SLICES = {
    NEW_USERS: "no history: attributes and context alone",
    SPARSE_USERS: "few events",
    NEW_ITEMS: "first used after the training window: content alone",
}


@dataclass(frozen=True)
class Goal:
    """How a system does on one slice beside popularity.

    Attributes:
        slice: name of the slice.
        num_users: users measured in it.
        value: the system's figure.
        popularity: popularity's figure.
        lift: relative gain over popularity that is asked for.
        met: whether it is reached; None where the slice is empty.
    """

    slice: str
    num_users: int
    value: float
    popularity: float
    lift: float
    met: bool | None

    def sentence(self, system: str, metric: str) -> str:
        """Say it in words."""
        about = f"{self.slice.capitalize()} ({SLICES[self.slice]})"
        if self.met is None:
            return f"{about}: none in the test window, so the goal is not measured."
        users = f"{self.num_users:,} {'user' if self.num_users == 1 else 'users'}"
        wanted = f"{self.lift:.0%} above it" if self.lift else "at least that"
        outcome = "goal met" if self.met else "goal not met"
        return (
            f"{about}, {users}: {system} {self.value:.4f} against popularity {self.popularity:.4f} on {metric}, "
            f"wanted {wanted}: {outcome}."
        )


def goals(
    slices: Mapping[str, Mapping[str, Mapping[str, float]]], system: str, metric: str, config: ColdStartConfig
) -> list[Goal]:
    """Return the goal of each cold-start slice and whether `system` meets it. Finding nothing meets no goal.

    Args:
        slices: slice -> system -> metric -> value, with `num_users`.
        system: whose figures are judged.
        metric: such as `ndcg_at_10`.
        config: the goals.
    """
    lifts = {NEW_USERS: config.new_users, SPARSE_USERS: config.sparse_users, NEW_ITEMS: config.new_items}
    return [_goal(name, slices[name][system], slices[name]["popularity"], metric, lift) for name, lift in lifts.items()]


def as_json(found: list[Goal], metric: str) -> dict[str, Any]:
    """Return slice -> its goal and figures, for `report.json`."""
    return {goal.slice: {"metric": metric, **{k: v for k, v in asdict(goal).items() if k != "slice"}} for goal in found}


def _goal(name: str, own: Mapping[str, float], popularity: Mapping[str, float], metric: str, lift: float) -> Goal:
    num_users, value, other = int(own["num_users"]), own[metric], popularity[metric]
    met = bool(value > 0 and value >= other * (1 + lift)) if num_users else None
    return Goal(name, num_users, value, other, lift, met)
