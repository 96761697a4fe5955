"""MovieLens, in the layouts GroupLens has published it: 100K, 1M (and 10M), and the csv of 20M, 25M and 32M.

Nearly half of consecutive ratings of a user share their second, so order within a second is order in the file:
`event_id` starts with the row number, zero-padded, and sorts as the file does. A rating is known the moment it
is made. Titles, genres and user attributes carry no time; they count as known from the first rating on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import MOVIELENS_SIZES, SourceConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.base import RawTables, parse_partition
from pipelines.sources.download import fetch_archive
from pipelines.stores.artifacts import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
ARCHIVE_MD5 = {
    "100k": "0e33842e24a9c977be4e0107933c0723",
    "1m": "c4d9eecfca2ab87c1945afe126590906",
    "20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "32m": "d472be332d4daa821edc399621853b57",
}
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Layout:
    """How one publication lays out its files.

    Attributes:
        name: short name.
        ratings: file with one rating a row.
        movies: file with one movie a row.
        users: file with one user a row, or None where none is published.
        columns: columns of the ratings file as the csv reader sees them; empty names are skipped.
        delimiter: one character; `::` is read as `:` with an empty column between two.
        has_header: whether the ratings file starts with column names.
        example: a row of the ratings file, for messages.
    """

    name: str
    ratings: str
    movies: str
    users: str | None
    columns: tuple[str, ...]
    delimiter: str
    has_header: bool
    example: str


_RATING = ("user_id", "item_id", "value", "seconds")
LAYOUTS = (
    Layout(
        "dat", "ratings.dat", "movies.dat", "users.dat",
        ("user_id", "", "item_id", "", "value", "", "seconds"), ":", False, "1::1193::5::978300760",
    ),
    Layout("100k", "u.data", "u.item", "u.user", _RATING, "\t", False, "196\t242\t3\t881250949"),
    Layout("csv", "ratings.csv", "movies.csv", None, _RATING, ",", True, "1,296,5.0,1147880044"),
)  # fmt: skip


def open_movielens(config: SourceConfig, *, home: Path, base_url: str = GROUPLENS) -> "MovieLensSource":
    """Return the source over `config.path`, or over the downloaded archive of `config.size`.

    Raises:
        ConfigError: neither a folder nor a size is given.
        SourceError: the folder holds no known layout, or the archive cannot be fetched.
    """
    if config.path is not None:
        return MovieLensSource(config.path)
    if config.size is None:
        raise ConfigError(f"source movielens needs source.path, or source.size, one of {', '.join(MOVIELENS_SIZES)}")
    folder = fetch_archive(
        f"{base_url}/ml-{config.size}.zip",
        md5=ARCHIVE_MD5[config.size],
        downloads=home / "downloads",
        instead="pass DATA=<folder> to make, or --data <folder>, with the unpacked files",
    )
    return MovieLensSource(folder)


def detect_layout(folder: Path) -> Layout:
    """Return the layout of the files in `folder`.

    Raises:
        SourceError: the folder does not exist, or has no known combination of files.
    """
    if not folder.is_dir():
        raise SourceError(f"MovieLens folder {folder} does not exist; pass DATA=<folder> with the unpacked files")
    for layout in LAYOUTS:
        if (folder / layout.ratings).is_file() and (folder / layout.movies).is_file():
            return layout
    wanted = "; or ".join(f"{layout.ratings} and {layout.movies}" for layout in LAYOUTS)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    raise SourceError(f"{folder} is not MovieLens as published: expected {wanted}; found {found}")


class MovieLensSource:
    """Ratings as events, movies as items, and users with their attributes where those are published."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.layout = folder, detect_layout(folder)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the digests of the files that are read."""
        files = [self.folder / self.layout.ratings, self.folder / self.layout.movies]
        files += [self._users_file] if self._users_file else []
        return {"kind": "movielens", "files": {path.name: file_digest(path) for path in files}}

    @property
    def _users_file(self) -> Path | None:
        path = self.folder / self.layout.users if self.layout.users else None
        return path if path is not None and path.is_file() else None

    def read(self, partition: str) -> RawTables:
        """Stream the ratings made in `partition`, in file order, and all movies and users."""
        import pyarrow as pa

        from pipelines.data.schemas import EVENTS_SCHEMA
        from pipelines.sources.movielens_catalogue import read_movies, read_users, users_without_attributes

        window = parse_partition(partition)
        limits = tuple(int(moment.timestamp()) for moment in window) if window else None
        first, user_ids = self._overview
        users_file = self._users_file
        users = read_users(users_file, first) if users_file else users_without_attributes(user_ids, first)
        return RawTables(
            events=pa.RecordBatchReader.from_batches(EVENTS_SCHEMA, self._events(limits)),
            items=read_movies(self.folder / self.layout.movies, first).to_reader(),
            users=users.to_reader(),
        )

    @cached_property
    def _overview(self) -> "tuple[int, pa.Array]":
        """The first rating's second, and the user ids where no users file has them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        seconds, users = [], []
        for batch in self._ratings():
            seconds.append(pc.min(batch.column("seconds")).as_py())
            if self._users_file is None:
                users.append(batch.column("user_id").unique())
        ids = pa.chunked_array(users, pa.string()).unique() if users else pa.array([], pa.string())
        return min(second for second in seconds if second is not None), ids

    def _events(self, limits: tuple[int, ...] | None) -> "Iterator[pa.RecordBatch]":
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from pipelines.data.schemas import EVENTS_SCHEMA

        start = 0
        for batch in self._ratings():
            rows = pa.array(np.arange(start, start + batch.num_rows))
            start += batch.num_rows
            user, item, value, seconds = (batch.column(name) for name in _RATING)
            if limits is not None:
                keep = pc.and_(pc.greater_equal(seconds, limits[0]), pc.less(seconds, limits[1]))
                rows, user, item, value, seconds = (
                    column.filter(keep) for column in (rows, user, item, value, seconds)
                )
            number = pc.utf8_lpad(rows.cast(pa.string()), 9, "0")
            moment = pc.multiply(seconds, 1_000_000).cast(pa.timestamp("us", "UTC"))
            absent = pa.nulls(len(rows), pa.string())
            kind = pa.repeat("rating", len(rows))
            event_id = pc.binary_join_element_wise(number, user, item, "-")
            columns = [event_id, user, item, kind, value, moment, moment, absent, absent]
            yield pa.RecordBatch.from_arrays(columns, schema=EVENTS_SCHEMA)

    def _ratings(self) -> "Iterator[pa.RecordBatch]":
        """Batches with columns `user_id, item_id, value, seconds`, in file order."""
        import pyarrow as pa
        import pyarrow.csv as pc_csv

        layout, path = self.layout, self.folder / self.layout.ratings
        names = [name or f"skipped_{number}" for number, name in enumerate(layout.columns)]
        types = {"user_id": pa.string(), "item_id": pa.string(), "value": pa.float64(), "seconds": pa.int64()}
        try:
            reader = pc_csv.open_csv(
                path,
                pc_csv.ReadOptions(column_names=names, skip_rows=int(layout.has_header), block_size=_BLOCK_BYTES),
                pc_csv.ParseOptions(delimiter=layout.delimiter, quote_char=False),
                pc_csv.ConvertOptions(column_types=types, include_columns=list(_RATING)),
            )
            yield from reader
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{path} is not readable ({error}); expected rows such as {layout.example!r}") from error
