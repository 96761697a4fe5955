"""A Feast offline store that joins features to labels with DuckDB's `ASOF` join over Delta or Parquet files.

Plugged in by its class path (`offline_store: type: ...`), so `FeatureStore.get_historical_features` and everything
above it stay as they are. Delta tables are read at the versions pinned in the configuration. Rows are joined in
Arrow; on-demand features get Arrow-backed frames, so that list columns never become Python objects.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictInt, StrictStr

from pipelines.errors import FeatureStoreError
from pipelines.stores import asof_join
from pipelines.stores.asof_join import JoinView, quote
from pipelines.stores.asof_sources import entity_table, register_source, time_window, timestamp_column

if TYPE_CHECKING:
    from feast.data_source import DataSource
    from feast.feature_view import FeatureView


class AsOfOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings of the store in the Feast yaml.

    Attributes:
        lake_uri: what relative paths of sources start from.
        versions: source name -> Delta version; a source that is not named is read at its newest version.
        memory_limit: DuckDB's budget; it spills to disk above.
        threads: DuckDB's threads.
        temp_directory: where it spills.
        storage_options: passed to Delta for object stores.
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


class AsOfOfflineStore(OfflineStore):  # type: ignore[misc]
    """Exact point-in-time joins: the newest row with `feature time <= label time`, within its TTL.

    Every label row is kept, in order. Of rows with equal key and time the one created last wins, then the last by
    content.
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
        if entity_df is None:
            raise FeatureStoreError(
                f"features were asked for a time range ({sorted(unsupported) or 'no rows'}); expected rows with their "
                "keys and times. Pass entity_df as a frame, an Arrow table or SQL"
            )

        def join() -> pa.Table:
            connection = _connect(config)
            views = [
                _join_view(connection, config, view, feature_refs, full_feature_names, filter_by_created_timestamp)
                for view in feature_views
            ]
            return _join_all(connection, entity_table(connection, entity_df), views)

        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsOfRetrievalJob(join, config, on_demand, full_feature_names, _metadata(entity_df, feature_refs))

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

        def latest() -> pa.Table:
            connection = _connect(config)
            relation = register_source(connection, config.offline_store, data_source)
            query = asof_join.latest_rows(
                relation,
                join_key_columns,
                columns,
                timestamp_field,
                created_timestamp_column,
                window=time_window(timestamp_field, start_date, end_date),
            )
            return connection.sql(query).to_arrow_table()

        return AsOfRetrievalJob(latest, config, [], False, None)

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

        def rows() -> pa.Table:
            connection = _connect(config)
            relation = register_source(connection, config.offline_store, data_source)
            window = time_window(timestamp_field, start_date, end_date)
            query = f"SELECT {names} FROM {relation} WHERE {window}"  # noqa: S608 - quoted names, numbers
            return connection.sql(query).to_arrow_table()

        return AsOfRetrievalJob(rows, config, [], False, None)

    def validate_data_source(self, config: RepoConfig, data_source: "DataSource") -> None:
        """Accept every source: declarations are applied before the first feature table is written."""


class AsOfRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        config: RepoConfig,
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
        metadata: RetrievalMetadata | None,
    ) -> None:
        super().__init__()
        self._run = run
        self._config = config
        self._on_demand = [_arrow_backed(view) for view in on_demand]
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """On-demand views that Feast applies to the joined rows."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as Parquet where `storage` says.

        Raises:
            FeatureStoreError: the file exists and `allow_overwrite` is false.
        """
        import pyarrow.parquet as pq

        path = Path(storage.to_data_source().path)
        if path.exists() and not allow_overwrite:
            raise FeatureStoreError(f"{path} exists; expected a new file. Pass allow_overwrite=True to replace it")
        pq.write_table(self.to_arrow(timeout=timeout), path)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._run().to_pandas()


class _ArrowBacked:
    """A pandas transformation whose frame holds Arrow columns: no list or string becomes a Python object."""

    def __init__(self, transformation: Any) -> None:
        self._transformation = transformation

    def transform_arrow(self, table: pa.Table, features: list[Any]) -> pa.Table:
        import pandas as pd

        frame = self._transformation.udf(table.to_pandas(types_mapper=pd.ArrowDtype))
        return pa.Table.from_pandas(frame, preserve_index=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transformation, name)


def _connect(config: RepoConfig) -> Any:
    store = config.offline_store
    return asof_join.connect(
        memory_limit=store.memory_limit, threads=store.threads, temp_directory=store.temp_directory
    )


def _join_all(connection: Any, rows: pa.Table, views: list[JoinView]) -> pa.Table:
    """Join one view after the other: the rows' keys go in, features come out in the rows' order."""
    keys = sorted({key for view in views for key in view.join_keys.values()})
    missing = [key for key in keys if key not in rows.column_names]
    if missing:
        raise FeatureStoreError(
            f"entity rows lack join keys {missing}; expected them beside {rows.column_names}. Add the columns"
        )
    moments = rows[timestamp_column(rows)]
    microseconds = moments.cast(pa.timestamp("us", moments.type.tz), safe=False).cast(pa.int64())
    slim = rows.select(keys).append_column(asof_join.AT, microseconds)
    connection.register("labels", slim.append_column(asof_join.ROW, pa.array(np.arange(rows.num_rows))))
    for view in views:
        joined = asof_join.join_view(connection, "labels", view)
        for name in joined.column_names:
            rows = rows.append_column(name, joined[name])
    return rows


def _join_view(
    connection: Any, config: RepoConfig, view: "FeatureView", refs: list[str], full_names: bool, by_arrival: bool
) -> JoinView:
    prefix, source = view.projection.name_to_use(), view.batch_source
    wanted = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == prefix]
    columns = {new: old for old, new in source.field_mapping.items()}
    join_keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    if DUMMY_ENTITY_ID in join_keys:
        raise FeatureStoreError(
            f"feature view {view.name!r} has no entity; expected one to join by. Declare an entity for it"
        )
    return JoinView(
        relation=register_source(connection, config.offline_store, source),
        join_keys={columns.get(key, key): label for key, label in join_keys.items()},
        features={columns.get(name, name): f"{prefix}__{name}" if full_names else name for name in wanted},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl,
        by_arrival=by_arrival,
    )


def _arrow_backed(view: OnDemandFeatureView) -> OnDemandFeatureView:
    if view.mode == "pandas":
        view.feature_transformation = _ArrowBacked(view.feature_transformation)
    return view


def _metadata(rows: Any, feature_refs: list[str]) -> RetrievalMetadata:
    names = getattr(rows, "column_names", None) or list(getattr(rows, "columns", []))
    return RetrievalMetadata(features=feature_refs, keys=[name for name in names if name != "event_timestamp"])
