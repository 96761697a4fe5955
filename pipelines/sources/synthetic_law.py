"""The law that decides what synthetic users choose, known exactly.

Everything random about a user or item is a hash of (seed, what is asked, its number): no state is kept, any
subset of users can be asked for at any moment, and memory does not grow with the number of events.

Notation: ``K`` niches (four to a genre), user ``u``, item ``i``, moment ``t`` with its ``day`` and daypart,
device ``d``. The probability that an event of ``u`` at ``t`` on ``d`` is about ``i`` is

    P(i | u, t, d) = (1 - e) * sum_z  theta(z | u, t, d) * q(i | z, day)  +  e * q(i | day),     e = 0.08
    theta(z | u, t, d)  is proportional to  taste(z | u, day) * context(z, d, daypart)
    q(i | z, day)       is proportional to  member(i, z) * popularity(i, day)

* ``taste`` has five parts: three base niches (0.26, 0.16, 0.10) drawn from the law of the user's segment, of
  which the last two are exchanged at a moment of the user's own (drift); an interest (0.28) that changes about
  every 12 days and mostly stays in the genre of the first niche; a mood of the day (0.20). So old history tells
  the base, recent history tells interest and mood, and a model that reads both beats one that reads either.
* ``context`` is a fixed log-normal preference of niches for devices and parts of the day.
* ``popularity`` is a Zipf law times a slow trend of the item's own times a boost that fades over the first days
  of a new item; it is zero before the item appears. ``member`` is 0.85 for an item's first niche, 0.15 for its second.

A user's segment also decides country and age group (seven times of ten), an item's niches its words and genres.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.config import SyntheticConfig

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEVICES = ("mobile", "desktop", "tv")
NUM_GENRES, NICHES_PER_GENRE, NUM_SEGMENTS, NUM_DAYPARTS = 12, 4, 8, 4
EXPLORATION = 0.08
PART_WEIGHTS = np.array([0.26, 0.16, 0.10, 0.28, 0.20])
MAIN_DEVICE_SHARE = 0.8
_MEMBERSHIP = (0.85, 0.15)
_INTEREST_DAYS = 12.0
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_uniform(seed: int, salt: str, *keys: Any) -> Floats:
    """Return uniforms in [0, 1) that depend only on the arguments; array keys broadcast (splitmix64)."""
    with np.errstate(over="ignore"):
        state = np.uint64((seed * 1_000_003 + int.from_bytes(salt.encode()[:7], "big")) % 2**64)
        mixed: Any = state
        for key in keys:
            mixed = _mix((mixed + _GOLDEN) ^ np.asarray(key, dtype=np.int64).astype(np.uint64))
        return np.asarray((_mix(mixed + _GOLDEN) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _gaussian(uniform: Floats, other: Floats) -> Floats:
    """Box-Muller."""
    return np.asarray(np.sqrt(-2.0 * np.log1p(-uniform)) * np.cos(2.0 * np.pi * other), dtype=np.float64)


class SyntheticLaw:
    """Tastes, catalogue and choice probabilities of one (config, seed)."""

    def __init__(self, config: SyntheticConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.num_niches = min(NUM_GENRES * NICHES_PER_GENRE, max(2, config.num_items // 4))
        self.num_genres = min(NUM_GENRES, self.num_niches)
        niches = np.arange(self.num_niches)
        self._segment_law = self._cumulate(
            np.exp(1.4 * self._normal("segment", np.arange(NUM_SEGMENTS)[:, None], niches[None, :]))
        )
        self.context = np.exp(
            0.6 * self._normal("context", *np.ix_(niches, np.arange(len(DEVICES)), np.arange(NUM_DAYPARTS)))
        )
        self._draw_items()
        self._draw_users()

    def _uniform(self, salt: str, *keys: Any) -> Floats:
        return hash_uniform(self.seed, salt, *keys)

    def _normal(self, salt: str, *keys: Any) -> Floats:
        return _gaussian(self._uniform(salt, 1, *keys), self._uniform(salt, 2, *keys))

    @staticmethod
    def _cumulate(weights: Floats) -> Floats:
        """Normalised cumulative sums along the last axis."""
        total = np.cumsum(weights, axis=-1)
        return np.asarray(total / total[..., -1:], dtype=np.float64)

    def _draw_items(self) -> None:
        config, items = self.config, np.arange(self.config.num_items)
        first = np.where(
            items < self.num_niches, items, (self._uniform("niche1", items) * self.num_niches).astype(np.int64)
        )
        step = 1 + (self._uniform("niche2", items) * (self.num_niches - 1)).astype(np.int64)
        self.item_niches = np.stack([first, (first + step) % self.num_niches], axis=1)
        rank = np.empty(config.num_items, dtype=np.int64)
        rank[np.argsort(self._uniform("rank", items), kind="stable")] = items
        self._zipf = (rank + 5.0) ** -0.8
        appears = (self._uniform("appear", items) / 0.3 * (config.num_days - 2)).astype(np.int64) + 1
        old = (self._uniform("old", items) < 0.7) | (items < self.num_niches)
        self.item_appears: Ints = np.where(old, 0, np.minimum(appears, config.num_days - 1))
        self.item_quality = 0.5 * self._normal("quality", items)
        self._members = self._niche_members(items)

    def _niche_members(self, items: Ints) -> tuple[Ints, Ints, Floats]:
        """Item, niche and membership of every (item, niche) pair, ordered by niche."""
        item, niche = np.repeat(items, 2), self.item_niches.ravel()
        order = np.argsort(niche, kind="stable")
        return item[order], niche[order], np.tile(np.array(_MEMBERSHIP), len(items))[order]

    def _draw_users(self) -> None:
        config, users = self.config, np.arange(self.config.num_users)
        late = 1 + (self._uniform("join", users) * (config.num_days - 1)).astype(np.int64)
        self.user_joins: Ints = np.where(self._uniform("first", users) < 0.6, 0, late)
        self.user_segments = (self._uniform("segm", users) * NUM_SEGMENTS).astype(np.int64)
        self._by_join = np.argsort(self.user_joins, kind="stable")
        self._joined = np.searchsorted(self.user_joins[self._by_join], np.arange(config.num_days), side="right")
        self._activity = np.cumsum(np.exp(0.9 * self._normal("active", users))[self._by_join])

    def activity(self, day: int) -> float:
        """Return the total activity of the users who have joined by `day`."""
        return float(self._activity[max(int(self._joined[day]), 1) - 1])

    def sample_users(self, uniforms: Floats, day: int) -> Ints:
        """Return users drawn by activity among those who have joined by `day`."""
        found = np.searchsorted(self._activity, uniforms * self.activity(day), side="right")
        return np.asarray(self._by_join[found], dtype=np.int64)

    def main_device(self, users: Ints) -> Ints:
        """Return each user's usual device."""
        return np.searchsorted([0.55, 0.85], self._uniform("device", users), side="right").astype(np.int64)

    def taste(self, users: Ints, days: Ints) -> Ints:
        """Return the niches of each user's taste on a day, [num_users, 5]; `PART_WEIGHTS` weighs them."""
        segments = self.user_segments[users]
        base = np.stack([self._from_segment(segments, self._uniform("base", users, part)) for part in range(3)], axis=1)
        for part in (1, 2):
            exchanged = days >= self._uniform("switch", users, part) * 2 * self.config.num_days
            other = self._from_segment(segments, self._uniform("other", users, part))
            base[:, part] = np.where(exchanged, other, base[:, part])
        slot = np.floor(days / _INTEREST_DAYS + self._uniform("phase", users)).astype(np.int64)
        sibling = base[:, 0] % self.num_genres + self.num_genres * np.floor(
            self._uniform("sibling", users, slot) * self.num_niches / self.num_genres
        ).astype(np.int64)
        wander = self._from_segment(segments, self._uniform("wander", users, slot))
        interest = np.where(self._uniform("stay", users, slot) < 0.6, np.minimum(sibling, self.num_niches - 1), wander)
        known = base[np.arange(len(users)), (self._uniform("which", users, days) * 3).astype(np.int64)]
        whim = (self._uniform("whim", users, days) * self.num_niches).astype(np.int64)
        mood = np.where(self._uniform("mood", users, days) < 0.7, known, whim)
        return np.column_stack([base, interest, mood])

    def _from_segment(self, segments: Ints, uniforms: Floats) -> Ints:
        flat = (self._segment_law + np.arange(NUM_SEGMENTS)[:, None]).ravel()
        found = np.searchsorted(flat, segments + uniforms, side="right") - segments * self.num_niches
        return np.asarray(np.clip(found, 0, self.num_niches - 1), dtype=np.int64)

    def part_weights(self, taste: Ints, devices: Ints, hours: Ints) -> Floats:
        """Return how likely each part of a taste is in a context, [num_queries, 5], rows summing to 1."""
        weights = PART_WEIGHTS * self.context[taste, devices[:, None], (hours // 6)[:, None]]
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)

    @lru_cache(maxsize=4)  # noqa: B019 - a law lives as long as its source
    def popularity(self, day: int) -> Floats:
        """Return the popularity of all items on a day, [num_items], zero before they appear."""
        items = np.arange(self.config.num_items)
        period = 20.0 + 40.0 * self._uniform("period", items)
        trend = np.exp(0.5 * np.sin(2 * np.pi * (day / period + self._uniform("trend", items))))
        age = day - self.item_appears
        boost = np.where(self.item_appears > 0, 1.0 + 2.0 * np.exp(-np.maximum(age, 0) / 7.0), 1.0)
        return np.asarray(np.where(age >= 0, self._zipf * trend * boost, 0.0), dtype=np.float64)

    @lru_cache(maxsize=4)  # noqa: B019 - a law lives as long as its source
    def _choice_table(self, day: int) -> Floats:
        """Cumulative q(i | z, day) over members, niche z spanning (z, z + 1]; the last span is exploration."""
        item, niche, share = self._members
        popularity = self.popularity(day)
        weights = share * popularity[item]
        per_niche = np.bincount(niche, weights, minlength=self.num_niches)
        inside = np.cumsum(weights / per_niche[niche])
        return np.concatenate([inside, self.num_niches + self._cumulate(popularity)])

    def sample_items(self, niches: Ints, uniforms: Floats, day: int) -> Ints:
        """Return an item of each niche, drawn by its law of the day; niche `num_niches` means any item."""
        table, members = self._choice_table(day), self._members[0]
        found = np.minimum(np.searchsorted(table, niches + uniforms, side="right"), len(table) - 1)
        return np.where(found < len(members), members[np.minimum(found, len(members) - 1)], found - len(members))

    def probabilities(self, users: Ints, day: int, hours: Ints, devices: Ints | None) -> Floats:
        """Return P(i | u, t, d) for queries of one day, [num_queries, num_items].

        `devices` None averages over the devices each user is known to use.
        """
        return self.item_probabilities(self.niche_probabilities(users, day, hours, devices), day)

    def item_probabilities(self, theta: Floats, day: int) -> Floats:
        """Return the items' probabilities, [num_queries, num_items], for niches' [num_queries, num_niches]."""
        item, niche, share = self._members
        popularity = self.popularity(day)
        weights = share * popularity[item]
        within = np.zeros((self.num_niches, self.config.num_items))
        within[niche, item] = weights / np.bincount(niche, weights, minlength=self.num_niches)[niche]
        explored = popularity / popularity.sum()
        return np.asarray((1 - EXPLORATION) * theta @ within + EXPLORATION * explored, dtype=np.float64)

    def niche_probabilities(self, users: Ints, day: int, hours: Ints, devices: Ints | None) -> Floats:
        """Return theta(z | u, t, d) for queries of one day, [num_queries, num_niches]."""
        taste = self.taste(users, np.full(len(users), day))
        theta = np.zeros((len(users), self.num_niches))
        rows = np.arange(len(users))[:, None]
        if devices is not None:
            np.add.at(theta, (rows, taste), self.part_weights(taste, devices, hours))
            return theta
        usual, other = self.main_device(users), (1 - MAIN_DEVICE_SHARE) / len(DEVICES)
        for device in range(len(DEVICES)):
            share = np.where(usual == device, MAIN_DEVICE_SHARE + other, other)
            weights = self.part_weights(taste, np.full(len(users), device), hours)
            np.add.at(theta, (rows, taste), share[:, None] * weights)
        return theta
