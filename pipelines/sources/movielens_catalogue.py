"""Movies and users of MovieLens. Small files: read whole, but column by column."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

_NO_GENRES = "(no genres listed)"
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
# The 1M README's codes; 100K gives ages in years, put into the same groups.
_AGE_STARTS = (0, 18, 25, 35, 45, 50, 56)
_AGE_GROUPS = ("under-18", "18-24", "25-34", "35-44", "45-49", "50-55", "56-plus")
_OCCUPATIONS_1M = (
    "other", "educator", "artist", "clerical", "student", "customer-service", "doctor", "executive", "farmer",
    "homemaker", "k12-student", "lawyer", "programmer", "retired", "sales", "scientist", "self-employed", "engineer",
    "craftsman", "unemployed", "writer",
)  # fmt: skip


def read_movies(path: Path, first_second: int) -> "pa.Table":
    """Return the items in `movies.dat`, `movies.csv` or `u.item`.

    Args:
        path: one of those files.
        first_second: when they count as known, in seconds since 1970.
    """
    import pyarrow as pa

    from pipelines.data.schemas import ITEMS_SCHEMA

    item_id, title, categories = _movies_100k(path) if path.name == "u.item" else _movies_with_genres(path)
    updated = pa.repeat(pa.scalar(first_second * 1_000_000), len(item_id)).cast(ITEMS_SCHEMA.field("updated_at").type)
    return pa.Table.from_arrays(
        [item_id, title, pa.nulls(len(item_id), pa.string()), categories, updated], schema=ITEMS_SCHEMA
    )


def read_users(path: Path, first_second: int) -> "pa.Table":
    """Return the users in `users.dat` or `u.user`, with attributes gender, age_group and occupation."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if path.name == "u.user":
        user_id, age, gender, occupation = _fields(path, "|", 5)[:4]
    else:
        user_id, gender, age, code = _fields(path, "::", 5)[:4]
        occupation = pa.array(_OCCUPATIONS_1M).take(code.cast(pa.int64()))
    group = np.searchsorted(_AGE_STARTS, age.cast(pa.int64()).to_numpy(zero_copy_only=False), side="right") - 1
    parts = {"gender": gender, "age_group": pa.array(_AGE_GROUPS).take(pa.array(group)), "occupation": occupation}
    named = [pc.binary_join_element_wise(name, values, "=") for name, values in parts.items()]
    order = np.arange(len(named) * len(user_id)).reshape(len(named), -1).T.ravel()
    ends = pa.array(np.arange(len(user_id) + 1) * len(named), pa.int32())
    return _users(user_id, pa.ListArray.from_arrays(ends, pa.concat_arrays(named).take(pa.array(order))), first_second)


def users_without_attributes(user_ids: "pa.Array", first_second: int) -> "pa.Table":
    """Return users that are known only by their ratings."""
    import pyarrow as pa

    none = pa.ListArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(user_ids) + 1), pa.array([], pa.string()))
    return _users(user_ids, none, first_second)


def _users(user_ids: Any, attributes: "pa.ListArray", first_second: int) -> "pa.Table":
    import pyarrow as pa

    from pipelines.data.schemas import USERS_SCHEMA

    updated = pa.repeat(pa.scalar(first_second * 1_000_000), len(user_ids)).cast(USERS_SCHEMA.field("updated_at").type)
    return pa.Table.from_arrays([user_ids, attributes, updated], schema=USERS_SCHEMA)


def _movies_with_genres(path: Path) -> tuple[Any, Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if path.suffix == ".csv":
        item_id, title, genres = _quoted_columns(path)
    else:
        item_id, title, genres = _fields(path, "::", 3)
    genres = pc.if_else(pc.equal(genres, _NO_GENRES), "", genres)
    split = pc.split_pattern(genres, "|")
    # Splitting "" gives [""]; an item without genres has none.
    none = pa.scalar([], pa.list_(pa.string()))
    return item_id, title, pc.if_else(pc.equal(genres, ""), none, split)


def _quoted_columns(path: Path) -> tuple[Any, Any, Any]:
    import pyarrow as pa
    import pyarrow.csv as pc_csv

    types = {"movieId": pa.string(), "title": pa.string(), "genres": pa.string()}
    try:
        table = pc_csv.read_csv(
            path, convert_options=pc_csv.ConvertOptions(column_types=types, include_columns=list(types))
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise SourceError(f"{path} is not readable ({error}); expected columns movieId, title, genres") from error
    item_id, title, genres = (table.column(name).combine_chunks() for name in types)
    return item_id, title, genres


def _movies_100k(path: Path) -> tuple[Any, Any, Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = _fields(path, "|", 5 + len(_GENRES_100K))
    flags = np.stack([pc.equal(column, "1").to_numpy(zero_copy_only=False) for column in columns[5:]], axis=1)
    flags[:, 0] = False  # "unknown" says only that no genre is known
    ends = np.concatenate([[0], np.cumsum(flags.sum(axis=1))])
    genre = pa.array(_GENRES_100K).take(pa.array(np.nonzero(flags)[1]))
    return columns[0], columns[1], pa.ListArray.from_arrays(pa.array(ends, pa.int32()), genre)


def _fields(path: Path, separator: str, count: int) -> "list[pa.Array]":
    """Return the columns of a file whose fields are never quoted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lines = pa.array([line for line in _text(path).split("\n") if line.strip()], pa.string())
    fields = pc.split_pattern(pc.utf8_rtrim(lines, "\r"), separator)
    wrong = pc.index(pc.equal(pc.list_value_length(fields), count), False).as_py()
    if wrong >= 0 or not len(lines):
        at = (
            f"line {wrong + 1}, {lines[wrong].as_py()!r}, has not" if len(lines) else "it is empty; expected lines with"
        )
        raise SourceError(f"{path}: {at} {count} fields separated by {separator!r}; get the file again from GroupLens")
    return [pc.list_element(fields, position) for position in range(count)]


def _text(path: Path) -> str:
    """1M and 100K are Latin-1, later publications UTF-8; Latin-1 decodes anything, so it comes second."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
