"""The result of the as-of offline store: computed when asked for, whole or in batches, or written to files."""

import copy
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.type_map import feast_value_type_to_pa

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_sources import open_filesystem, resolve

ROW_GROUP_BYTES = 32 * 2**20


class AsOfRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for.

    Args:
        read: runs the query; returns its rows as they come.
        settings: the offline store's configuration: `lake_uri`, `storage_options`.
        on_demand: views that are computed from the rows.
        full_feature_names: whether features are named `view__feature`.
        describe: says what was asked for; None for a result that is not joined to rows.
    """

    def __init__(
        self,
        read: Callable[[], pa.RecordBatchReader],
        settings: Any,
        on_demand: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        describe: Callable[[], RetrievalMetadata] | None = None,
    ) -> None:
        super().__init__()
        self._read = read
        self._settings = settings
        self._on_demand = on_demand or []
        self._full_feature_names = full_feature_names
        self._describe = describe

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """On-demand views that Feast applies to the joined rows."""
        return self._on_demand

    @cached_property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for, with the range of the rows' times; for rows given as SQL this runs the query."""
        return self._describe() if self._describe else None

    def to_arrow_reader(self) -> pa.RecordBatchReader:
        """Return the result in batches, without ever holding all of it.

        On-demand features are computed batch by batch and have their declared types.
        """
        rows = self._read()
        if not self._on_demand:
            return rows
        first = self._computed(next(iter(rows), rows.schema.empty_table()))

        def batches() -> Iterator[pa.RecordBatch]:
            yield from first.to_batches()
            for batch in rows:
                yield from self._computed(batch).to_batches()

        return pa.RecordBatchReader.from_batches(first.schema, batches())

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result where `storage` says, batch by batch: a Delta table, a Parquet file, or a folder with one.

        A Parquet file appears whole or not at all.

        Raises:
            FeatureStoreError: there is something already and `allow_overwrite` is false.
        """
        source = storage.to_data_source()
        path, options = resolve(self._settings.lake_uri, source.path), self._settings.storage_options
        write = _write_delta if isinstance(source.file_format, DeltaFormat) else _write_parquet
        write(self.to_arrow_reader, path, options, allow_overwrite)

    def _computed(self, rows: pa.RecordBatch | pa.Table) -> pa.Table:
        """Rows with their on-demand features, as Feast adds them to a whole result, in declared types."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        part = AsOfRetrievalJob(
            table.to_reader, self._settings, self._on_demand, self._full_feature_names, lambda: self.metadata
        )
        computed = part.to_arrow()
        types = {}
        for view in self._on_demand:
            for field in view.features:
                name = f"{view.projection.name_to_use()}__{field.name}" if self._full_feature_names else field.name
                types[name] = feast_value_type_to_pa(field.dtype.to_value_type(), timestamp_unit="us")
        added = computed.column_names[table.num_columns :]
        fields = [field.with_type(types[field.name]) if field.name in added else field for field in computed.schema]
        return computed.cast(pa.schema(fields))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._read().read_all()


def arrow_backed(view: OnDemandFeatureView) -> OnDemandFeatureView:
    """Return a view whose pandas transformation gets Arrow-backed frames: lists never become Python objects."""
    if view.mode != "pandas":
        return view
    # The registry may keep the view it gave out.
    view = copy.copy(view)
    view.feature_transformation = _ArrowBacked(view.feature_transformation)
    return view


class _ArrowBacked:
    """A pandas transformation whose frame holds Arrow columns."""

    def __init__(self, transformation: Any) -> None:
        self._transformation = transformation

    def transform_arrow(self, table: pa.Table, features: list[Any]) -> pa.Table:
        import pandas as pd

        frame = self._transformation.udf(table.to_pandas(types_mapper=pd.ArrowDtype))
        return pa.Table.from_pandas(frame, preserve_index=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transformation, name)


def _write_delta(
    read: Callable[[], pa.RecordBatchReader], path: str, options: dict[str, str], allow_overwrite: bool
) -> None:
    from deltalake import DeltaTable, write_deltalake

    if DeltaTable.is_deltatable(path, options or None) and not allow_overwrite:
        raise _exists(path)
    write_deltalake(path, read(), mode="overwrite", schema_mode="overwrite", storage_options=options or None)


def _write_parquet(
    read: Callable[[], pa.RecordBatchReader], path: str, options: dict[str, str], allow_overwrite: bool
) -> None:
    import pyarrow.parquet as pq
    from pyarrow import fs

    filesystem, within = open_filesystem(path if path.endswith(".parquet") else f"{path}/part-0.parquet", options)
    if filesystem.get_file_info(within).type != fs.FileType.NotFound and not allow_overwrite:
        raise _exists(path)
    partial = f"{within}.partial"
    rows = read()
    if "://" not in path:
        filesystem.create_dir(within.rpartition("/")[0])
    with pq.ParquetWriter(partial, rows.schema, filesystem=filesystem) as writer:
        for group in _row_groups(rows):
            writer.write_table(group)
    filesystem.move(partial, within)


def _row_groups(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Batches put together: small row groups make a file slow to read, large ones need memory."""
    held: list[pa.RecordBatch] = []
    num_bytes = 0
    for batch in rows:
        held.append(batch)
        num_bytes += batch.nbytes
        if num_bytes >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, num_bytes = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _exists(path: str) -> FeatureStoreError:
    return FeatureStoreError(f"{path} exists; expected nothing there. Pass allow_overwrite=True to replace it")
