"""Context by prefiltering: items and users whose ratings depend on a condition become two, for any rating model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from pipelines.config import Section
from pipelines.models.contexts import Contexts, require_contexts
from pipelines.models.ratings.base import Floats, Ints, RatingPredictor, Ratings, require_ratings
from pipelines.models.ratings.catalogue import rating_model
from pipelines.models.retrievers.base import ModelCard
from pipelines.models.retrievers.files import read_learned, read_settings, write_model

NONE = -1


class SplittingSettings(Section):
    """What is split, when, and what learns from the result."""

    split: Literal["items", "users", "both"] = Field("items", description="what becomes two")
    threshold: float = Field(4.0, gt=0, description="least t of the difference between a condition and all others")
    num_ratings: int = Field(10, ge=2, description="least ratings on either side of a condition")
    model: str = Field("biased_factors", description="rating model that learns from the result")
    settings: dict[str, Any] = Field({}, description="of that model, over its defaults")


class Splitting(RatingPredictor):
    """Splits by Welch's t-test, then trains a model that knows no context.

    Each item is split by the condition under which its ratings differ most from its others: two items, one for that
    condition, one for everything else. Users likewise.
    """

    card = ModelCard(
        name="splitting",
        family="context",
        needs="many ratings an item or user, and times or devices",
        good_at="few, strong effects of context; making any rating model aware of them",
        source="Baltrunas and Ricci, Context-based splitting of item ratings in collaborative filtering, RecSys 2009; "
        "Zheng, Burke and Mobasher, Splitting approaches for context-aware recommendation, SAC 2014",
    )
    Settings = SplittingSettings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        kind = rating_model(self.settings.model)
        self.model = kind(kind.Settings(**self.settings.settings))
        self.items = self.users = Split(np.zeros(0, np.int64))

    def fit(self, train: Ratings, *, seed: int) -> None:
        """Decide what to split, and train the model."""
        require_ratings(train)
        contexts, what = require_contexts(train.contexts, f"{len(train)} ratings"), self.settings.split
        self.items = self._split(train, contexts, train.items, train.num_items, what != "users")
        self.users = self._split(train, contexts, train.users, train.num_users, what != "items")
        self.model.fit(self._divided(train), seed=seed)

    def predict(self, users: Ints, items: Ints, contexts: Contexts | None = None) -> Floats:
        """Return the model's predictions for the halves that are meant; without a context the second ones."""
        return self.model.predict(self.users.of(users, contexts), self.items.of(items, contexts), contexts)

    def save(self, folder: Path) -> None:
        """Write settings, what was split, and the model."""
        write_model(folder, self.settings, {"items": self.items.conditions, "users": self.users.conditions})
        self.model.save(folder / "model")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        found, arrays = cls(read_settings(folder, cls.Settings)), read_learned(folder)
        found.items, found.users = Split(arrays["items"]), Split(arrays["users"])
        found.model = type(found.model).load(folder / "model")
        return found

    def _split(self, train: Ratings, contexts: Contexts, codes: Ints, num_codes: int, wanted: bool) -> "Split":
        if not wanted:
            return Split(np.full(num_codes, NONE))
        t = welch(contexts, codes, num_codes, train.values, num_ratings=self.settings.num_ratings)
        strongest = np.abs(t).argmax(axis=1)
        return Split(np.where(np.abs(t).max(axis=1) >= self.settings.threshold, strongest, NONE))

    def _divided(self, train: Ratings) -> Ratings:
        return replace(
            train,
            users=self.users.of(train.users, train.contexts),
            items=self.items.of(train.items, train.contexts),
            num_users=len(self.users.parents),
            num_items=len(self.items.parents),
            user_attributes=None if train.user_attributes is None else train.user_attributes[self.users.parents],
            item_attributes=None if train.item_attributes is None else train.item_attributes[self.items.parents],
        )


@dataclass(frozen=True)
class Split:
    """Which items, or users, became two.

    Attributes:
        conditions: the condition that each was split by, -1 where it was not, `[num_codes]`.
    """

    conditions: Ints

    @property
    def parents(self) -> Ints:
        """Whom each code after the split is of: all there were, then the halves under a condition."""
        return np.concatenate([np.arange(len(self.conditions)), np.flatnonzero(self.conditions >= 0)])

    def of(self, codes: Ints, contexts: Contexts | None) -> Ints:
        """Return codes after the split, same shape: of what was split, under its condition, the new one."""
        if contexts is None:
            return codes
        split = self.conditions >= 0
        new = len(split) + np.cumsum(split) - 1
        wanted = self.conditions[codes]
        under = (wanted >= 0) & (contexts.conditions == wanted[:, None]).any(axis=1)
        return np.where(under, new[codes], codes)


def welch(contexts: Contexts, codes: Ints, num_codes: int, values: Floats, *, num_ratings: int) -> Floats:
    """Return Welch's t of each code's ratings under a condition against its others under another of that context.

    Args:
        contexts: of the ratings, `[num_ratings]` rows.
        codes: of items or of users, `[num_ratings]`.
        num_codes: of them.
        values: ratings, `[num_ratings]`.
        num_ratings: with fewer on either side t is 0.

    Returns:
        `[num_codes, num_conditions]`.
    """
    powers = (np.ones(len(values)), values, values**2)
    under = [contexts.totals(codes, num_codes, power) for power in powers]
    rest = [total @ contexts.same_context - total for total in under]
    return _t(under, rest, num_ratings)


def _t(under: list[Floats], rest: list[Floats], num_ratings: int) -> Floats:
    """Return t by count, sum and sum of squares of both sides; a difference without any spread is taken as certain."""
    enough = (under[0] >= num_ratings) & (rest[0] >= num_ratings)
    means, errors = [], []
    for count, total, squares in (under, rest):
        number = np.where(enough, count, 2)
        means.append(total / number)
        spread = np.maximum(squares - total**2 / number, 0) / (number - 1)
        errors.append(spread / number)
    return np.where(enough, (means[0] - means[1]) / np.sqrt(np.maximum(errors[0] + errors[1], 1e-12)), 0.0)
