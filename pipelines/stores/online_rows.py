"""Rows on their way to and from an online store, as columns of bytes, and what a store needs to take them so.

Tandem's online stores take and give columns, without one Python object a cell, beside Feast's own rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import FeatureStoreError
from pipelines.stores import online_encoding
from pipelines.stores.online_encoding import from_hex

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOTHING = -(2**63)  # microseconds of an entity that has no row, and of a row that has no creation time
BATCH_ROWS = 5_000
BATCH_BYTES = 16 * 2**20
FeastRow = tuple[Any, dict[str, Any], datetime, datetime | None]


@dataclass(frozen=True)
class OnlineRows:
    """Rows of one feature view, at most one an entity.

    Attributes:
        keys: binary `[num_rows]`, serialized entity keys.
        values: feature -> binary `[num_rows]`, serialized values; one without bytes has no value.
        event_us: int64 `[num_rows]`, event times in microseconds since 1970.
        created_us: int64 `[num_rows]`, creation times likewise, `NOTHING` where there is none.
    """

    keys: pa.BinaryArray
    values: dict[str, pa.BinaryArray]
    event_us: np.ndarray
    created_us: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def where(self, chosen: np.ndarray) -> "OnlineRows":
        """Return the rows that a mask `[num_rows]` chooses."""
        mask = pa.array(chosen)
        values = {name: column.filter(mask) for name, column in self.values.items()}
        return OnlineRows(self.keys.filter(mask), values, self.event_us[chosen], self.created_us[chosen])


class FeastRowWriter:
    """Takes Feast's own rows, as every Feast writer hands them over, by way of the store's `write_columns`."""

    write_columns: Callable[["RepoConfig", "FeatureView", OnlineRows], None]

    def online_write_batch(
        self,
        config: "RepoConfig",
        table: "FeatureView",
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write Feast's rows; those older than what is there are left out."""
        self.write_columns(config, table, from_feast(config, data))
        if progress:
            progress(len(data))


@runtime_checkable
class ColumnStore(Protocol):
    """An online store that takes and gives columns, and whose event times only move forward."""

    def write_columns(self, config: "RepoConfig", view: "FeatureView", rows: OnlineRows) -> None:
        """Write the rows that are not older than what is there; all of them or, after an error, a part."""

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""

    def event_times(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> np.ndarray:
        """Return for each key its oldest event time in microseconds since 1970, `NOTHING` where there is no row."""

    def count_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> int:
        """Return how many cells there are of an entity, by its serialized key, in views of that entity."""

    def erase_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> None:
        """Delete an entity's cells in all views, and what deleted and replaced cells left in the store's files."""

    def remember(self, config: "RepoConfig", view: "FeatureView", note: str) -> None:
        """Keep a note about a view beside its rows; it goes when they go."""

    def remembered(self, config: "RepoConfig", view: "FeatureView") -> str | None:
        """Return the note kept last about a view."""


def encoded(config: "RepoConfig", view: "FeatureView", batch: pa.RecordBatch) -> OnlineRows:
    """Return rows of the offline store in online form, values by the types that the view declares.

    Raises:
        FeatureStoreError: a key is null, or a type cannot go online.
    """
    from feast.types import from_feast_to_pyarrow_type

    version = config.entity_key_serialization_version
    if version != online_encoding.KEY_VERSION:
        raise FeatureStoreError(
            f"entity_key_serialization_version is {version}; expected {online_encoding.KEY_VERSION}. Set it in the yaml"
        )
    keys = [(field.name, _cast(batch, field.name, field.dtype.to_value_type())) for field in view.entity_columns]
    values = {
        field.name: online_encoding.values(_declared(batch.column(field.name), from_feast_to_pyarrow_type(field.dtype)))
        for field in view.features
    }
    created = view.batch_source.created_timestamp_column
    return OnlineRows(
        keys=online_encoding.entity_keys(keys),
        values=values,
        event_us=microseconds(batch.column(view.batch_source.timestamp_field)),
        created_us=microseconds(batch.column(created)) if created else np.full(batch.num_rows, NOTHING),
    )


def from_feast(config: "RepoConfig", data: Sequence[FeastRow]) -> OnlineRows:
    """Return Feast's rows as columns; of several of one entity the newest is kept, the later one of equal ones.

    A feature that a row lacks has no value.
    """
    from feast.infra.key_encoding_utils import serialize_entity_key

    version = config.entity_key_serialization_version
    newest: dict[bytes, tuple[int, FeastRow]] = {}
    for row in data:
        key, at = serialize_entity_key(row[0], entity_key_serialization_version=version), _microseconds(row[2])
        if key not in newest or at >= newest[key][0]:
            newest[key] = at, row
    rows = [row for _, row in newest.values()]
    names = list(dict.fromkeys(name for row in rows for name in row[1]))
    return OnlineRows(
        keys=pa.array(list(newest), pa.binary()),
        values={
            name: pa.array([row[1][name].SerializeToString() if name in row[1] else b"" for row in rows], pa.binary())
            for name in names
        },
        event_us=np.array([at for at, _ in newest.values()], np.int64),
        created_us=np.array([NOTHING if row[3] is None else _microseconds(row[3]) for row in rows], np.int64),
    )


def from_texts(keys: pa.BinaryArray, names: Sequence[str], found: Sequence[tuple[bytes, int, str]]) -> OnlineRows:
    """Return what a database found for some of the keys, in any order, as the rows of all `keys`.

    Databases give a row of long text much faster than many short values.

    Args:
        keys: binary `[num_rows]`, serialized entity keys.
        names: features of the result.
        found: an entity's key, its oldest event time in microseconds since 1970, and its values in the order of
            `names`, as hexadecimal digits with commas between.
    """
    columns = zip(*found, strict=True) if found else ((), (), ())
    kinds = (pa.binary(), pa.int64(), pa.string())
    found_keys, us, texts = (pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True))
    row = pc.index_in(keys, found_keys)
    nothing = "," * (len(names) - 1)
    cells = from_hex(pc.split_pattern(texts.take(row).fill_null(nothing), ",").flatten())
    every = pa.array(np.arange(len(keys)) * len(names))
    values = {name: cells.take(pc.add(every, n)) for n, name in enumerate(names)}
    event_us = us.take(row).fill_null(NOTHING).to_numpy(zero_copy_only=False)
    return OnlineRows(keys, values, event_us, np.full(len(keys), NOTHING))


def times_of(keys: pa.BinaryArray, found: Sequence[tuple[bytes, int]]) -> np.ndarray:
    """Return what a database found for some of the keys, an entity's key and event time, for all of `keys`.

    An entity that was not found has `NOTHING`.
    """
    columns = zip(*found, strict=True) if found else ((), ())
    found_keys, us = (pa.array(part, kind) for part, kind in zip(columns, (pa.binary(), pa.int64()), strict=True))
    times: np.ndarray = us.take(pc.index_in(keys, found_keys)).fill_null(NOTHING).to_numpy(zero_copy_only=False)
    return times


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as a moment in UTC."""
    found: datetime = np.datetime64(us, "us").astype(datetime).replace(tzinfo=UTC)
    return found


def microseconds(column: pa.Array) -> np.ndarray:
    """Return a column of moments as microseconds since 1970, `NOTHING` for a null."""
    numbers = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    found: np.ndarray = numbers.fill_null(NOTHING).to_numpy(zero_copy_only=False)
    return found


def batches(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join and cut record batches into ones of bounded rows and bytes: rows of list features can be long."""
    waiting: list[pa.RecordBatch] = []
    for part in parts:
        waiting.append(part)
        num_rows, num_bytes = sum(batch.num_rows for batch in waiting), sum(batch.nbytes for batch in waiting)
        if num_rows >= BATCH_ROWS or num_bytes >= BATCH_BYTES:
            yield from _cut(waiting)
            waiting = []
    if waiting:
        yield from _cut(waiting)


def _cut(parts: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for whole in pa.Table.from_batches(parts).combine_chunks().to_batches():
        if whole.num_rows:
            size = max(1, min(BATCH_ROWS, BATCH_BYTES * whole.num_rows // max(1, whole.nbytes)))
            yield from (whole.slice(start, size) for start in range(0, whole.num_rows, size))


def _cast(batch: pa.RecordBatch, name: str, kind: Any) -> pa.Array:
    from feast.type_map import feast_value_type_to_pa

    return _declared(batch.column(name), feast_value_type_to_pa(kind))


def _declared(column: pa.Array, kind: pa.DataType) -> pa.Array:
    # Moments keep their own unit: they are cut to whole seconds where they are encoded.
    if column.type == kind or pa.types.is_timestamp(kind):
        return column
    return column.cast(kind)


def _microseconds(at: datetime) -> int:
    span = (at.replace(tzinfo=UTC) if at.tzinfo is None else at) - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
