"""A Feast offline store that joins features to labels on Spark, by the rules of the as-of store.

Feast's own Spark store gives some labels twice and others the features of another key (docs/joins.md), so the join is
ours; declarations, versions and everything above stay as they are. Sources are the same Delta and Parquet files. What
Spark joined it writes to a staging folder, from which this process reads batch by batch.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pyarrow as pa
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictInt, StrictStr

from pipelines.stores import spark_join
from pipelines.stores.asof_job import AsOfRetrievalJob, arrow_backed
from pipelines.stores.asof_join import ROW, side_by_side
from pipelines.stores.asof_sources import epoch_us, require_files, require_rows, resolve
from pipelines.stores.asof_views import RequestedView, check_names
from pipelines.stores.spark_entities import SparkEntityRows
from pipelines.stores.spark_files import read_delta
from pipelines.stores.spark_session import open_session
from pipelines.stores.spark_staging import Staging

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.feature_view import FeatureView
    from pyspark.sql import DataFrame, SparkSession

JOINED = "joined"


class SparkAsOfOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in the Feast yaml.

    Attributes:
        lake_uri: what relative paths of sources start from.
        versions: source name -> Delta version; a source that is not named is read at its newest version.
        spark_conf: properties of the session, `spark.master` among them; a session that runs already is taken.
        staging_uri: folder or prefix that driver and executors share.
        storage_options: how this process reaches object stores; executors are told by `spark_conf`.
    """

    type: Literal["pipelines.stores.spark_offline_store.SparkAsOfOfflineStore"] = (
        "pipelines.stores.spark_offline_store.SparkAsOfOfflineStore"
    )
    lake_uri: StrictStr = ""
    versions: dict[StrictStr, StrictInt] = {}
    spark_conf: dict[StrictStr, StrictStr] = {}
    staging_uri: StrictStr
    storage_options: dict[StrictStr, StrictStr] = {}


class SparkAsOfOfflineStore(OfflineStore):
    """Exact point-in-time joins on Spark; which row a label gets is what `AsOfOfflineStore` says."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list["FeatureView"],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        *,
        filter_by_created_timestamp: bool = False,
        **unsupported: Any,
    ) -> RetrievalJob:
        """Return a job that joins the requested features to `entity_df`: a frame, an Arrow table, or Spark SQL."""
        require_rows(entity_df, unsupported)
        settings = config.offline_store

        def read() -> pa.RecordBatchReader:
            views = [
                RequestedView(view, feature_refs, full_feature_names, filter_by_created_timestamp)
                for view in feature_views
            ]
            session = open_session(settings.spark_conf)
            return _from_staging(settings, lambda staging: _join(session, settings, entity_df, views, staging))

        def describe() -> RetrievalMetadata:
            session, staging = open_session(settings.spark_conf), _staging(settings)
            try:
                rows = SparkEntityRows(session, entity_df, staging)
                keys = [name for name in rows.schema.names if name != rows.timestamp]
                return RetrievalMetadata(feature_refs, keys, *rows.time_range())
            finally:
                staging.remove()

        on_demand = list(map(arrow_backed, OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)))
        return AsOfRetrievalJob(read, settings, on_demand, full_feature_names, describe)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: "DataSource",
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return a job for the newest row of each key with a time from `start_date` to `end_date`, inclusive."""
        stamps = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        columns = [*join_key_columns, *feature_name_columns, *stamps]
        return _query_source(
            config,
            data_source,
            lambda rows: spark_join.latest_rows(
                _within(rows, timestamp_field, start_date, end_date), join_key_columns, columns, stamps
            ),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: "DataSource",
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return a job for every row with a time from `start_date` to `end_date`, inclusive."""
        stamps = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        names = map(spark_join.column, [*join_key_columns, *feature_name_columns, *stamps])
        return _query_source(
            config, data_source, lambda rows: _within(rows, timestamp_field, start_date, end_date).select(*names)
        )

    def validate_data_source(self, config: RepoConfig, data_source: "DataSource") -> None:
        """Accept every source: declarations are applied before the first feature table is written."""


def source_rows(session: "SparkSession", settings: Any, source: "DataSource") -> "DataFrame":
    """Return the rows of a Feast file source in Delta or Parquet format.

    Raises:
        FeatureStoreError: the source is not made of files, or its Delta table needs a newer reader.
    """
    require_files(source)
    path = resolve(settings.lake_uri, source.path)
    if isinstance(source.file_format, DeltaFormat):
        return read_delta(session, path, settings.versions.get(source.name), settings.storage_options)
    return session.read.option("recursiveFileLookup", "true").option("mergeSchema", "true").parquet(path)


def _join(
    session: "SparkSession", settings: Any, entity_df: Any, views: list[RequestedView], staging: Staging
) -> pa.RecordBatchReader:
    """Join each view to the rows' keys, put all in the rows' order, and read that beside the rows."""
    rows = SparkEntityRows(session, entity_df, staging)
    joins = []
    for view in views:
        frame, name = source_rows(session, settings, view.source), f"source_{uuid4().hex}"
        frame.createOrReplaceTempView(name)
        joins.append(view.read_from(name, frame.columns))
    check_names([*rows.schema.names, *(name for join in joins for name in join.features.values())])
    labels = rows.labels([label for join in joins for label in join.join_keys.values()])
    joined = labels.select(ROW)
    for join in joins:
        joined = joined.join(spark_join.join_view(session, labels, join), ROW, "left")
    staging.write(JOINED, joined.orderBy(ROW).drop(ROW))
    for join in joins:
        session.catalog.dropTempView(join.relation)
    return side_by_side([rows.reader(), staging.read(JOINED)])


def _query_source(
    config: RepoConfig, source: "DataSource", query: Callable[["DataFrame"], "DataFrame"]
) -> RetrievalJob:
    settings = config.offline_store

    def result(staging: Staging) -> pa.RecordBatchReader:
        session = open_session(settings.spark_conf)
        staging.write(JOINED, query(source_rows(session, settings, source)))
        return staging.read(JOINED)

    return AsOfRetrievalJob(lambda: _from_staging(settings, result), settings)


def _from_staging(settings: Any, run: Callable[[Staging], pa.RecordBatchReader]) -> pa.RecordBatchReader:
    """What `run` returns, reading from a staging folder that is removed when all is read, or something failed."""
    staging = _staging(settings)
    try:
        reader = run(staging)
    except BaseException:
        staging.remove()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        finally:
            staging.remove()

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _within(rows: "DataFrame", timestamp: str, start: datetime | None, end: datetime | None) -> "DataFrame":
    from pyspark.sql import functions as fn

    moment = spark_join.column(timestamp)
    if start:
        rows = rows.filter(moment >= fn.timestamp_micros(fn.lit(epoch_us(start))))
    return rows.filter(moment <= fn.timestamp_micros(fn.lit(epoch_us(end)))) if end else rows


def _staging(settings: Any) -> Staging:
    return Staging(settings.staging_uri, settings.storage_options)
