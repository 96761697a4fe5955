"""A Feast compute engine that materializes a view column by column.

Feast's local engine turns each batch into frames and each cell through a chain of type checks. Here the latest rows
come from the offline store as Arrow, each column becomes protos at once, and batches go to whatever online store is
configured. `FeatureStore.materialize` and every reader stay as they are.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value

if TYPE_CHECKING:
    from feast.feature_view import FeatureView

BATCH_ROWS = 5_000


class ColumnarEngineConfig(LocalComputeEngineConfig):  # type: ignore[misc]
    """Settings of the engine in the Feast yaml."""

    type: Literal["pipelines.stores.columnar_engine.ColumnarEngine"] = "pipelines.stores.columnar_engine.ColumnarEngine"


class ColumnarEngine(LocalComputeEngine):  # type: ignore[misc]
    """Materializes the newest row of each entity in the task's window."""

    def _materialize_one(self, registry: Any, task: MaterializationTask, **kwargs: Any) -> LocalMaterializationJob:
        view = task.feature_view
        job_id = f"{view.name}-{task.start_time.isoformat()}-{task.end_time.isoformat()}"
        try:
            self._write(view, self._latest(view, task))
        except Exception as error:  # Feast reads the outcome from the job and raises it itself.
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _latest(self, view: "FeatureView", task: MaterializationTask) -> pa.Table:
        source = view.batch_source
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=source,
            join_key_columns=[column.name for column in view.entity_columns],
            feature_name_columns=[field.name for field in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        return job.to_arrow()

    def _write(self, view: "FeatureView", rows: pa.Table) -> None:
        # An Arrow table is cut where its chunks end, and how many chunks there are depends on the reader's threads.
        for batch in rows.combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
            self.online_store.online_write_batch(self.repo_config, view, list(online_rows(view, batch)), None)


def online_rows(view: "FeatureView", batch: pa.RecordBatch) -> Iterator[tuple[EntityKey, dict[str, Value], Any, Any]]:
    """Yield Feast's online rows: entity key, feature values, event time and creation time."""
    keys = [column.name for column in view.entity_columns]
    names = [field.name for field in view.features]
    entities = zip(*(values_of(batch.column(name)) for name in keys), strict=True)
    features = zip(*(values_of(batch.column(name)) for name in names), strict=True)
    moments = batch.column(view.batch_source.timestamp_field).to_pylist()
    created_column = view.batch_source.created_timestamp_column
    created = batch.column(created_column).to_pylist() if created_column else [None] * len(moments)
    for entity, row, moment, arrival in zip(entities, features, moments, created, strict=True):
        yield EntityKey(join_keys=keys, entity_values=entity), dict(zip(names, row, strict=True)), moment, arrival


def values_of(column: pa.Array) -> list[Value]:
    """Return a column as Feast values; a null is a value with nothing set."""
    make = _maker(column.type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False).cast(pa.int64())
    nothing = Value()
    return [nothing if value is None else make(value) for value in column.to_pylist()]


def _maker(kind: pa.DataType) -> Callable[[Any], Value]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_maker(kind.value_type)
    if pa.types.is_integer(kind):
        return lambda value: Value(int64_val=value)
    if pa.types.is_float32(kind):
        return lambda value: Value(float_val=value)
    if pa.types.is_float64(kind):
        return lambda value: Value(double_val=value)
    if pa.types.is_boolean(kind):
        return lambda value: Value(bool_val=value)
    if pa.types.is_timestamp(kind):
        return lambda value: Value(unix_timestamp_val=value)
    return lambda value: Value(string_val=value)


def _list_maker(kind: pa.DataType) -> Callable[[Any], Value]:
    if pa.types.is_integer(kind):
        return lambda value: Value(int64_list_val=Int64List(val=value))
    if pa.types.is_floating(kind):
        return lambda value: Value(float_list_val=FloatList(val=value))
    return lambda value: Value(string_list_val=StringList(val=value))
