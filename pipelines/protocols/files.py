"""Readers of published data files: columns of codes, in the order of the file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import SourceError
from pipelines.models.contexts import Contexts
from pipelines.models.sequences import Sequences

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
ML_100K_USERS = 943
ML_100K_ITEMS = 1_682


@dataclass(frozen=True)
class Events:
    """Interactions in columns, all `[num_events]`.

    Attributes:
        users: codes from 0.
        items: codes from 0.
        num_users: users there are codes for.
        num_items: items of the corpus.
        times: seconds since 1970; None where the file holds an order alone.
        values: ratings; None where the file has none.
    """

    users: Ints
    items: Ints
    num_users: int
    num_items: int
    times: Ints | None = None
    values: Floats | None = None

    def __len__(self) -> int:
        """Interactions."""
        return len(self.users)

    def take(self, chosen: NDArray[Any]) -> "Events":
        """Return some interactions, by position or mask, in the order asked for."""
        return replace(
            self,
            users=self.users[chosen],
            items=self.items[chosen],
            times=None if self.times is None else self.times[chosen],
            values=None if self.values is None else self.values[chosen],
        )

    def in_time_order(self) -> "Events":
        """Return the interactions sorted by time; those of one second keep their order."""
        return self if self.times is None else self.take(np.argsort(self.times, kind="stable"))

    def sequences(self) -> Sequences:
        """Return one row a user, oldest first; interactions of one second keep their order."""
        ordered = self.in_time_order()
        return Sequences.of(
            ordered.users,
            ordered.items,
            num_users=self.num_users,
            num_items=self.num_items,
            times=ordered.times,
            values=ordered.values,
            contexts=None if ordered.times is None else Contexts.at(ordered.times),
        )


def read_ml_100k(data: Path) -> Events:
    """Read `ml-100k/u.data`; the code of a user or item is its number less one."""
    return _ml_100k(data, "u.data")


def read_ml_100k_fold(data: Path, fold: int) -> tuple[Events, Events]:
    """Read a published fold of MovieLens-100K, `u1` to `u5`: what is trained on, and what is tested."""
    return _ml_100k(data, f"u{fold}.base"), _ml_100k(data, f"u{fold}.test")


def read_ml_100k_titles(data: Path) -> list[str]:
    """Read the title of each item of MovieLens-100K; 18 titles occur twice."""
    return [line.split("|")[1] for line in _lines(data / "ml-100k" / "u.item", "latin-1")]


def read_ml_100k_attributes(data: Path) -> tuple[Any, Any]:
    """Read what is known of the users and items of MovieLens-100K besides ratings.

    Returns:
        Two CSR matrices of zeros and ones: users by age group, gender and occupation; items by genre and release year.
    """
    users = [line.split("|") for line in _lines(data / "ml-100k" / "u.user")]
    ages = np.array([int(user[1]) for user in users]) // 10
    of_users = [ages, _codes([user[2] for user in users]), _codes([user[3] for user in users])]
    items = [line.split("|") for line in _lines(data / "ml-100k" / "u.item", "latin-1")]
    genres = np.array([[int(flag) for flag in item[5:24]] for item in items])
    return _one_hot(of_users), _one_hot([_codes([item[2][-4:] for item in items])], genres)


def read_ml_1m(data: Path) -> Events:
    """Read `ml-1m/ratings.dat`; items are those rated, in order of their numbers."""
    text = _text(data / "ml-1m" / "ratings.dat").replace("::", " ")
    columns = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 4)
    return _coded(columns[:, 0], columns[:, 1], times=columns[:, 3], values=columns[:, 2].astype(np.float32))


def read_ml_1m_sequences(data: Path) -> Events:
    """Read `ml-1m-sequences/ml-1m.txt`: a user and an item a line, in order of time within a user."""
    columns = np.fromstring(_text(data / "ml-1m-sequences" / "ml-1m.txt"), dtype=np.int64, sep=" ").reshape(-1, 2)
    return _coded(columns[:, 0], columns[:, 1])


def read_ml_1m_timed_sequences(data: Path) -> Events:
    """Read the sequences file with the time of each rating, found in `ml-1m` by the maps of users and items.

    Raises:
        SourceError: a line of the sequences file has no rating.
    """
    folder = data / "ml-1m-sequences"
    columns = np.fromstring(_text(folder / "ml-1m.txt"), dtype=np.int64, sep=" ").reshape(-1, 2)
    ratings = np.fromstring(_text(data / "ml-1m" / "ratings.dat").replace("::", " "), dtype=np.int64, sep=" ")
    users, items, _, times = ratings.reshape(-1, 4).T
    wanted = _pairs(
        _mapped(folder / "user_map.parquet", columns[:, 0]), _mapped(folder / "item_map.parquet", columns[:, 1])
    )
    there = _pairs(users, items)
    order = np.argsort(there)
    found = order[np.minimum(np.searchsorted(there[order], wanted), len(there) - 1)]
    missing = int((there[found] != wanted).sum())
    if missing:
        raise SourceError(f"{missing} lines of {folder / 'ml-1m.txt'} have no rating in {data / 'ml-1m'}; expected all")
    return _coded(columns[:, 0], columns[:, 1], times=times[found])


def read_beauty(data: Path) -> Events:
    """Read `beauty/Beauty.txt`: a user and its items, oldest first, a line."""
    lines = _lines(data / "beauty" / "Beauty.txt")
    numbers = np.fromstring(" ".join(lines), dtype=np.int64, sep=" ")
    lengths = np.array([line.count(" ") for line in lines])
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    return _coded(np.repeat(numbers[starts], lengths), np.delete(numbers, starts))


def _ml_100k(data: Path, name: str) -> Events:
    columns = np.fromstring(_text(data / "ml-100k" / name), dtype=np.int64, sep=" ").reshape(-1, 4)
    return Events(
        users=columns[:, 0] - 1,
        items=columns[:, 1] - 1,
        num_users=ML_100K_USERS,
        num_items=ML_100K_ITEMS,
        times=columns[:, 3],
        values=columns[:, 2].astype(np.float32),
    )


def _coded(users: Ints, items: Ints, **columns: Any) -> Events:
    user_ids, user_codes = np.unique(users, return_inverse=True)
    item_ids, item_codes = np.unique(items, return_inverse=True)
    return Events(user_codes, item_codes, num_users=len(user_ids), num_items=len(item_ids), **columns)


def _mapped(file: Path, numbers: Ints) -> Ints:
    """Return what a map of two columns, a number and another, holds for each number."""
    import pyarrow.parquet as pq

    old, new = (np.asarray(column, dtype=np.int64) for column in pq.read_table(file).columns)
    table = np.zeros(int(max(old.max(), numbers.max())) + 1, dtype=np.int64)
    table[old] = new
    return table[numbers]


def _pairs(users: Ints, items: Ints) -> Ints:
    """Return one number a pair of numbers below a million."""
    return users * 1_000_000 + items


def _codes(names: list[str]) -> Ints:
    return np.unique(names, return_inverse=True)[1]


def _one_hot(columns: list[Ints], flags: Ints | None = None) -> Any:
    import scipy.sparse as sp

    parts = [np.eye(column.max() + 1)[column] for column in columns] + ([] if flags is None else [flags])
    return sp.csr_matrix(np.concatenate(parts, axis=1))


def _lines(file: Path, encoding: str = "utf-8") -> list[str]:
    return _text(file, encoding).splitlines()


def _text(file: Path, encoding: str = "utf-8") -> str:
    try:
        return file.read_text(encoding)
    except OSError as error:
        raise SourceError(
            f"{file} cannot be read ({error}); expected a published data file. Name the folder that holds it by "
            "`--data` or TANDEM_DATA; docs/protocols.md says where each file comes from"
        ) from error
