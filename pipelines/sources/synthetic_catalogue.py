"""Names, words, genres and attributes of the synthetic source's items and users."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.sources.synthetic_law import Floats, Ints, SyntheticLaw, hash_uniform

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US = 86_400_000_000
GENRES = (
    "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Horror", "Music", "Mystery", "Romance", "Science",
)  # fmt: skip
NICHES = (
    "Voyage", "Puppet", "Farce", "Heist", "River", "Family",
    "Dragon", "Ghost", "Jazz", "Cipher", "Wedding", "Orbit",
    "Island", "Robot", "Satire", "Detective", "Glacier", "Courtroom",
    "Wizard", "Vampire", "Opera", "Alibi", "Letter", "Quantum",
    "Desert", "Fable", "Prank", "Mafia", "Savanna", "Teacher",
    "Kingdom", "Asylum", "Punk", "Labyrinth", "Summer", "Android",
    "Summit", "Manga", "Sketch", "Forgery", "Reef", "Harvest",
    "Prophecy", "Cabin", "Choir", "Riddle", "Paris", "Colony",
)  # fmt: skip
_MOODS = (
    "Silent", "Golden", "Broken", "Distant", "Hidden", "Endless", "Crimson", "Gentle",
    "Burning", "Frozen", "Lost", "Bright", "Hollow", "Wild", "Last", "Secret",
)  # fmt: skip
_COUNTRIES = ("BR", "DE", "FR", "IN", "JP", "KE", "MX", "US")
_AGES = ("under-18", "18-24", "25-34", "35-49", "50-plus")
_REVISED_SHARE = 0.05


def names(prefix: str, values: Ints, width: int) -> "pa.Array":
    """Return `prefix` followed by each value, zero-padded to `width`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pc.utf8_lpad(pa.array(values).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(pa.scalar(prefix), digits, "")


def item_names(items: Ints) -> "pa.Array":
    """Return the `item_id` of each item number."""
    return names("i", items, 6)


def user_names(users: Ints) -> "pa.Array":
    """Return the `user_id` of each user number."""
    return names("u", users, 6)


def numbers(ids: Sequence[str]) -> Ints:
    """Return the number in each `user_id` or `item_id`."""
    return np.array([int(name[1:]) for name in ids], dtype=np.int64)


def item_rows(law: SyntheticLaw, start: int, *, before: int) -> "pa.Table":
    """Return the rows of all items with `updated_at < before`, microseconds; revised items have two."""
    items = np.arange(law.config.num_items)
    revised = items[hash_uniform(law.seed, "revise", items) < _REVISED_SHARE]
    appears = law.item_appears[revised]
    later = 1 + (hash_uniform(law.seed, "revday", revised) * (law.config.num_days - 1 - appears)).astype(np.int64)
    numbers_ = np.concatenate([items, revised])
    days = np.concatenate([law.item_appears, appears + later])
    is_revision = np.arange(len(numbers_)) >= len(items)
    keep = start + days * DAY_US < before
    order = np.lexsort([numbers_[keep], days[keep]])
    return _items_table(law, numbers_[keep][order], start + days[keep][order] * DAY_US, is_revision[keep][order])


def _items_table(
    law: SyntheticLaw, items: Ints, updated: Ints, revised: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.data.schemas import ITEMS_SCHEMA

    first, second = law.item_niches[items, 0], law.item_niches[items, 1]
    words = pa.array(NICHES)
    mood = _pick(_MOODS, hash_uniform(law.seed, "title", items))
    title = pc.binary_join_element_wise(mood, words.take(pa.array(first)), pa.array(items).cast(pa.string()), " ")
    about = _pick(_MOODS, hash_uniform(law.seed, "text", items))
    text = pc.binary_join_element_wise(
        pc.utf8_lower(about),
        pc.utf8_lower(words.take(pa.array(first))),
        "and",
        pc.utf8_lower(words.take(pa.array(second))),
        " ",
    )
    text = pc.if_else(pa.array(revised), pc.binary_join_element_wise(text, "restored", " "), text)
    columns = [
        item_names(items),
        title,
        text,
        _genres(law, first, second),
        pa.array(updated).cast(pa.timestamp("us", "UTC")),
    ]
    return pa.Table.from_arrays(columns, schema=ITEMS_SCHEMA)


def _genres(law: SyntheticLaw, first: Ints, second: Ints) -> "pa.Array":
    """Genre of the first niche, and of the second where it is another one."""
    import pyarrow as pa

    pairs = np.stack([first % law.num_genres, second % law.num_genres], axis=1)
    keep = np.stack([np.ones(len(pairs), dtype=bool), pairs[:, 0] != pairs[:, 1]], axis=1)
    ends = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    values = pa.array(GENRES).take(pa.array(pairs[keep]))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def user_rows(law: SyntheticLaw, start: int, *, before: int) -> "pa.Table":
    """Return the rows of all users with `updated_at < before`, microseconds."""
    import pyarrow as pa

    from pipelines.data.schemas import USERS_SCHEMA

    users = np.arange(law.config.num_users)
    users = users[start + law.user_joins * DAY_US < before]
    users = users[np.argsort(law.user_joins[users], kind="stable")]
    updated = pa.array(start + law.user_joins[users] * DAY_US).cast(pa.timestamp("us", "UTC"))
    return pa.Table.from_arrays([user_names(users), _attributes(law, users), updated], schema=USERS_SCHEMA)


def _attributes(law: SyntheticLaw, users: Ints) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    segment = law.user_segments[users]
    country = _told(law, "country", users, segment, len(_COUNTRIES))
    age = _told(law, "age", users, segment % len(_AGES), len(_AGES))
    parts = [
        pc.binary_join_element_wise("country", pa.array(_COUNTRIES).take(pa.array(country)), "="),
        pc.binary_join_element_wise("age_group", pa.array(_AGES).take(pa.array(age)), "="),
    ]
    values = pa.concat_arrays(parts).take(pa.array(np.arange(2 * len(users)).reshape(2, -1).T.ravel()))
    return pa.ListArray.from_arrays(pa.array(2 * np.arange(len(users) + 1), pa.int32()), values)


def _told(law: SyntheticLaw, what: str, users: Ints, truth: Ints, count: int) -> Ints:
    """The attribute that goes with a user's segment, seven times of ten; else any."""
    honest = hash_uniform(law.seed, f"{what}?", users) < 0.7
    return np.where(honest, truth, (hash_uniform(law.seed, what, users) * count).astype(np.int64))


def _pick(words: Sequence[str], uniforms: Floats) -> "pa.Array":
    import pyarrow as pa

    return pa.array(words).take(pa.array((uniforms * len(words)).astype(np.int64)))
