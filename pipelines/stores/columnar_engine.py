"""A Feast compute engine that materializes a view column by column, in batches.

Feast's local engine holds a whole view in memory, turns it into frames, and each cell goes through a chain of type
checks. Here record batches stream from the offline store, columns become bytes at once, and the next batch is made
while the store writes the last. `FeatureStore.materialize` and every reader stay as they are.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob

from pipelines.stores import asof_join
from pipelines.stores.asof_job import AsOfRetrievalJob
from pipelines.stores.asof_join import quote
from pipelines.stores.asof_offline_store import AsOfOfflineStore
from pipelines.stores.asof_sources import register_source, time_window
from pipelines.stores.online_rows import OnlineRows, batches, encoded
from pipelines.stores.read_ahead import ahead

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

READ_ROWS = 20_000


class ColumnarEngineConfig(LocalComputeEngineConfig):
    """Settings of the engine in the Feast yaml."""

    type: Literal["pipelines.stores.columnar_engine.ColumnarEngine"] = "pipelines.stores.columnar_engine.ColumnarEngine"


class ColumnarEngine(LocalComputeEngine):
    """Materializes the newest row of each entity in the task's window."""

    def _materialize_one(self, registry: Any, task: MaterializationTask, **kwargs: Any) -> LocalMaterializationJob:
        view = task.feature_view
        job_id = f"{view.name}-{task.start_time.isoformat()}-{task.end_time.isoformat()}"
        try:
            for batch in ahead(self.newest_rows(view, task.start_time, task.end_time)):
                self.online_store.write_columns(self.repo_config, view, batch)
        except Exception as error:  # Feast reads the outcome from the job and raises it itself.
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def newest_rows(self, view: "FeatureView", start: datetime, end: datetime) -> Iterator[OnlineRows]:
        """Yield the newest row of each entity from `start` to `end`, inclusive, in online form, in batches."""
        stream = _streamed if isinstance(self.offline_store, AsOfOfflineStore) else _pulled
        for batch in batches(stream(self.repo_config, self.offline_store, view, start, end)):
            yield encoded(self.repo_config, view, batch)


def _streamed(
    config: "RepoConfig", offline_store: Any, view: "FeatureView", start: datetime, end: datetime
) -> Iterator[pa.RecordBatch]:
    """What the offline store's own pull returns, without a table of all rows; DuckDB spills above its budget."""
    store, source = config.offline_store, view.batch_source
    connection = asof_join.connect(
        memory_limit=store.memory_limit, threads=store.threads, temp_directory=store.temp_directory
    )
    keys = [column.name for column in view.entity_columns]
    created = source.created_timestamp_column or None
    stamps = [source.timestamp_field, *([created] if created else [])]
    query = asof_join.latest_rows(
        register_source(connection, store, source),
        keys,
        [*keys, *(field.name for field in view.features), *stamps],
        source.timestamp_field,
        created,
        window=time_window(source.timestamp_field, start, end),
    )
    # In the order of the serialized keys, which begin with their length: neighbours share pages of the online store.
    order = ", ".join(f"strlen({quote(key)}::VARCHAR), {quote(key)}" for key in keys)
    yield from connection.sql(f"SELECT * FROM ({query}) ORDER BY {order}").to_arrow_reader(READ_ROWS)  # noqa: S608 - quoted


def _pulled(
    config: "RepoConfig", offline_store: Any, view: "FeatureView", start: datetime, end: datetime
) -> Iterator[pa.RecordBatch]:
    source = view.batch_source
    job = offline_store.pull_latest_from_table_or_query(
        config=config,
        data_source=source,
        join_key_columns=[column.name for column in view.entity_columns],
        feature_name_columns=[field.name for field in view.features],
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column,
        start_date=start,
        end_date=end,
    )
    yield from job.to_arrow_reader() if isinstance(job, AsOfRetrievalJob) else job.to_arrow().to_batches()
