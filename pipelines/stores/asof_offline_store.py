"""A Feast offline store that joins features to labels with DuckDB's `ASOF` join over Delta or Parquet files.

Plugged in by its class path (`offline_store: type: ...`), so `FeatureStore.get_historical_features` and everything
above it stay as they are. Delta tables are read at the versions pinned in the configuration. Rows are joined in
Arrow; on-demand features get Arrow-backed frames, so that list columns never become Python objects.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictInt, StrictStr

from pipelines.errors import FeatureStoreError
from pipelines.stores import asof_in_memory, asof_join
from pipelines.stores.asof_entities import EntityRows
from pipelines.stores.asof_job import AsOfRetrievalJob, arrow_backed
from pipelines.stores.asof_join import BATCH_ROWS, JoinView, quote
from pipelines.stores.asof_sources import register_source, require_rows, time_window
from pipelines.stores.asof_views import RequestedView, check_names

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.feature_view import FeatureView


class AsOfOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in the Feast yaml.

    Attributes:
        lake_uri: what relative paths of sources start from.
        versions: source name -> Delta version; a source that is not named is read at its newest version.
        memory_limit: DuckDB's budget, shared by all views of a join; it spills to disk above. It is no limit of the
            process: docs/joins.md says what is not in it.
        threads: DuckDB's threads.
        temp_directory: where it spills; empty is the system's folder for temporary files.
        storage_options: passed to Delta for object stores, in which Parquet is read and written the same way.
    """

    type: Literal["pipelines.stores.asof_offline_store.AsOfOfflineStore"] = (
        "pipelines.stores.asof_offline_store.AsOfOfflineStore"
    )
    lake_uri: StrictStr = ""
    versions: dict[StrictStr, StrictInt] = {}
    memory_limit: StrictStr = "2GB"
    threads: StrictInt = 2
    temp_directory: StrictStr = ""
    storage_options: dict[StrictStr, StrictStr] = {}


class AsOfOfflineStore(OfflineStore):
    """Exact point-in-time joins: the newest row with `feature time <= label time`, within its TTL.

    Every label row is kept, in order. Of rows with equal key and time the one created last wins, then the last by
    content. With `filter_by_created_timestamp`, rows created after the label's time do not exist for it; a view
    without a created timestamp is joined as ever.
    """

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
        """Return a job that joins the requested features to `entity_df`: a frame, an Arrow table, or SQL."""
        require_rows(entity_df, unsupported)

        def read() -> pa.RecordBatchReader:
            connection = _connect(config)
            rows = EntityRows(connection, entity_df)
            return _join(
                config.offline_store,
                connection,
                rows,
                [
                    RequestedView(view, feature_refs, full_feature_names, filter_by_created_timestamp)
                    for view in feature_views
                ],
            )

        def describe() -> RetrievalMetadata:
            connection = _connect(config)
            rows = EntityRows(connection, entity_df)
            keys = [name for name in rows.schema.names if name != rows.timestamp]
            return RetrievalMetadata(feature_refs, keys, *rows.time_range(connection))

        on_demand = list(map(arrow_backed, OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)))
        return AsOfRetrievalJob(read, config.offline_store, on_demand, full_feature_names, describe)

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

        def query(relation: str) -> str:
            return asof_join.latest_rows(
                relation,
                join_key_columns,
                columns,
                timestamp_field,
                created_timestamp_column,
                window=time_window(timestamp_field, start_date, end_date),
            )

        return _query_source(config, data_source, query)

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
        names = ", ".join(map(quote, [*join_key_columns, *feature_name_columns, *stamps]))

        window = time_window(timestamp_field, start_date, end_date)
        return _query_source(
            config,
            data_source,
            lambda relation: f"SELECT {names} FROM {relation} WHERE {window}",  # noqa: S608 - quoted names, numbers
        )

    def validate_data_source(self, config: RepoConfig, data_source: "DataSource") -> None:
        """Accept every source: declarations are applied before the first feature table is written."""


def _connect(config: RepoConfig) -> Any:
    store = config.offline_store
    return asof_join.connect(
        memory_limit=store.memory_limit, threads=store.threads, temp_directory=store.temp_directory
    )


def _query_source(config: RepoConfig, source: "DataSource", query: Callable[[str], str]) -> RetrievalJob:
    def read() -> pa.RecordBatchReader:
        connection = _connect(config)
        relation = register_source(connection, config.offline_store, source)
        return _kept(connection, connection.sql(query(relation)).to_arrow_reader(BATCH_ROWS))

    return AsOfRetrievalJob(read, config.offline_store)


def _join(settings: Any, connection: Any, rows: EntityRows, views: Sequence[RequestedView]) -> pa.RecordBatchReader:
    """Join one view after the other to the rows' keys; put the rows and their features side by side.

    Only the last join is still under way then: the others lie in the spill folder.
    """
    folder = asof_join.spill_folder(connection)
    readers = [rows.reader(connection.cursor())]
    for number, view in enumerate(views, start=1):
        cursor, beside = connection.cursor(), connection.cursor()
        register_source(beside, settings, view.source)
        relation = register_source(cursor, settings, view.source)
        join_view = view.read_from(relation, cursor.sql(f"SELECT * FROM {relation} LIMIT 0").columns)  # noqa: S608 - quoted
        labels = rows.labels(cursor, list(join_view.join_keys.values()))
        _check_keys(cursor, labels, join_view)
        reader = asof_in_memory.read_view(cursor, beside, labels, join_view)
        readers.append(reader if number == len(views) else asof_join.spooled(reader, folder / f"view_{number}.arrows"))
    check_names([name for reader in readers for name in reader.schema.names])
    return _kept(connection, asof_join.side_by_side(readers))


def _kept(connection: Any, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """A reader that keeps its connection, and so the folder it spills to, until it is read to the end."""

    def batches() -> Any:
        yield from reader
        connection.close()

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _check_keys(connection: Any, labels: str, view: JoinView) -> None:
    """DuckDB would turn text into numbers, so that '01' is 1, or fail at the first text that is none."""
    for key, label in view.join_keys.items():
        names = f"{quote(key)} AS a FROM {view.relation}", f"{quote(label)} AS a FROM {labels}"
        kinds = [str(connection.sql(f"SELECT {name} LIMIT 0").types[0]) for name in names]
        if len({kind == "VARCHAR" for kind in kinds}) > 1:
            raise FeatureStoreError(
                f"join key {key!r} is {kinds[0]} in the feature rows and {kinds[1]} in the entity rows; expected text "
                "in both, or numbers in both. Cast the entity rows' column"
            )
