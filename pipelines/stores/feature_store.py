"""Feast behind one class: declarations, point-in-time joins, materialization, and the read that serving makes.

Every read of history names a `FeatureSet`, whose table versions pin what is read. Feast is configured by the yaml of
the profile in `feature_repo`; going from SQLite to Redis and PostgreSQL changes that file alone.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.config import Config, SparkConfig
from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID, FeatureSet
from pipelines.errors import FeatureStoreError, TandemError
from pipelines.features.on_demand import REQUEST_TIMESTAMP, taste_match
from pipelines.stores.feast_profile import EMBEDDED_YAML, read_profile

if TYPE_CHECKING:
    import feast

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPARK_OFFLINE_STORE = "pipelines.stores.spark_offline_store.SparkAsOfOfflineStore"
SERVING_SERVICE = "serving_user_v2"
ITEM_SERVICE = "item_v1"
PAGES_SECONDS = 5


class FeatureStore:
    """The feature store of one data set.

    Args:
        home: state of the platform; the embedded profile keeps registry and online store in `home/feast`.
        dataset: namespace; also decides the Feast project.
        lake_uri: root of the data set's lake; None is the embedded one. Serving reads no history and needs none.
        yaml_file: Feast configuration of the profile; None is the embedded one.
        memory_limit: budget of a join, such as `2GB`; it spills to disk above.
        threads: threads of a join.
        spark: properties of Spark, on which history is then joined and read; None is DuckDB in this process.
        serving_service: feature service that `online_user` reads; a release names the one it was made for.

    Attributes:
        project: Feast project.
        audited: folder with the event times that audits of the online store saw.
    """

    def __init__(
        self,
        *,
        home: Path,
        dataset: str,
        lake_uri: str | None = None,
        yaml_file: Path | str | None = None,
        memory_limit: str = "2GB",
        threads: int = 2,
        spark: SparkConfig | None = None,
        serving_service: str = SERVING_SERVICE,
    ) -> None:
        self.project = dataset.replace("-", "_")
        self._folder = home / "feast"
        self._lake_uri = lake_uri or f"{home / 'lake'}/{dataset}"
        self._yaml = Path(yaml_file or EMBEDDED_YAML)
        self._serving_service = serving_service
        self.audited = self._folder / "audited" / self.project
        self._limits = {"memory_limit": memory_limit, "threads": threads}
        self._spark = spark
        self._opened: tuple[dict[str, int], feast.FeatureStore] | None = None

    @classmethod
    def from_config(cls, config: Config) -> "FeatureStore":
        """Return the feature store that a configuration describes."""
        return cls(
            home=config.home,
            dataset=config.dataset,
            lake_uri=config.lake_uri,
            yaml_file=config.services.feature_store_yaml or None,
            memory_limit=config.features.memory_limit,
            threads=config.features.threads,
            spark=config.features.spark if config.features.engine == "spark" else None,
        )

    def apply(self) -> None:
        """Bring the registry to what `feature_repo` declares; nothing changes when it is there already.

        What is declared no more goes from the registry and the online store: `refuse_breaking_change` comes first.
        """
        with _explained(
            "could not apply the feature declarations", "check the registry's address and run the step again"
        ):
            from pipelines.stores.declaring import apply_declarations

            apply_declarations(self._open({}))

    def applied_services(self) -> dict[str, dict[str, str]]:
        """Return feature service -> feature -> Arrow type, as they were applied last; none before that."""
        with _explained("could not list the feature services", "check the registry's address and run the step again"):
            from pipelines.stores.declaring import applied_services

            return applied_services(self._open({}))

    def pages(self) -> Any:
        """Return Feast's own pages of the registry as an ASGI application; they show a change within seconds."""
        from feast.ui_server import get_app

        return get_app(self._connect({}, registry_seconds=PAGES_SECONDS), project_id=self.project)

    def historical(self, entity_rows: pa.Table, service: str, *, features: FeatureSet) -> pa.Table:
        """Join a feature service to rows, point in time: each row sees what was knowable at its `event_timestamp`.

        Args:
            entity_rows: `[num_rows, ...]` with `event_timestamp`, the join keys (`user_id`, `item_id`) and, unless
                equal to `event_timestamp`, `request_timestamp`. Other columns are carried through.
            service: name of a feature service, such as `ranking_v1`.
            features: the feature tables and their versions.

        Returns:
            The rows in their order, all columns kept, followed by the service's features.

        Raises:
            FeatureStoreError: Feast refused, for example because a join key is missing.
        """
        store = self._open(features.versions)
        with _explained(f"could not join {service!r}", "run `tandem compute-features` for this snapshot first"):
            declared = store.get_feature_service(service)
            wanted = [field.name for view in declared.feature_view_projections for field in view.features]
            _check_names(service, wanted, entity_rows.column_names)
            keys = [name for name in (USER_ID, ITEM_ID) if name in entity_rows.column_names]
            slim = entity_rows.select([*keys, EVENT_TIMESTAMP])
            moments = REQUEST_TIMESTAMP if REQUEST_TIMESTAMP in entity_rows.column_names else EVENT_TIMESTAMP
            slim = slim.append_column(REQUEST_TIMESTAMP, entity_rows[moments])
            joined = store.get_historical_features(entity_df=slim, features=declared).to_arrow()
        for name in wanted:
            entity_rows = entity_rows.append_column(name, joined[name])
        return entity_rows

    def join_candidates(self, pairs: pa.Table, *, features: FeatureSet) -> pa.Table:
        """Join candidates' item features to (query, candidate) pairs, as of each query's moment.

        Args:
            pairs: `[num_pairs, ...]` with `item_id` (the candidate), `event_timestamp` (the query's moment) and the
                query's features, among them `taste_categories` and `taste_weights`.
            features: the feature tables and their versions.

        Returns:
            The pairs in their order with the features of `item_v1` and `taste_match`.
        """
        joined = self.historical(pairs, ITEM_SERVICE, features=features)
        match = taste_match(joined["taste_categories"], joined["taste_weights"], joined["categories"])
        return joined.append_column("taste_match", pa.array(match))

    def items_at(self, moment: datetime, *, features: FeatureSet) -> pa.Table:
        """Return `item_id` and the `item_v1` features of every item known at `moment`, in order of `item_id`."""
        store = self._open(features.versions)
        with _explained("could not list the items", "run `tandem compute-features` for this snapshot first"):
            known = self._latest(store, store.get_feature_view("item_content"), moment)
        ids = known.select([ITEM_ID]).sort_by(ITEM_ID)[ITEM_ID]
        stamps = pa.array([moment] * len(ids), pa.timestamp("us", tz="UTC"))
        rows = pa.table({ITEM_ID: ids, EVENT_TIMESTAMP: stamps})
        return self.historical(rows, ITEM_SERVICE, features=features).drop_columns([EVENT_TIMESTAMP])

    def materialize(
        self,
        features: FeatureSet,
        *,
        since: datetime | None = None,
        lookback: timedelta = timedelta(0),
        clock: datetime | None = None,
    ) -> dict[str, int]:
        """Bring the newest row of each entity, as of the snapshot, to the online store, and audit what is there.

        Args:
            features: the feature tables and their versions.
            since: where the window begins, such as the end of the last one; None is everything.
            lookback: how much before that the window begins, so that rows that came late are written too.
            clock: the present, to tell later how long ago this was; None is the snapshot's moment.

        Returns:
            Feature view -> entities online.

        Raises:
            FeatureStoreError: Feast refused, an entity cannot be brought online, or an event time went back.
        """
        from pipelines.stores.materialization import materialize_view

        store = self._open(features.versions)
        until, start = features.snapshot.as_of, since - lookback if since else None
        num_online = {}
        with _explained("could not materialize", "check the online store's address and run the step again"):
            there = {view.name for view in store.list_feature_views()}
            for name, version in features.versions.items():
                if name not in there:
                    continue  # computed before the view was removed
                # Feast reports progress on standard output, which belongs to the caller's JSON.
                with contextlib.redirect_stdout(io.StringIO()):
                    view = store.get_feature_view(name)
                    audit = materialize_view(
                        store,
                        view,
                        version=version,
                        since=start,
                        until=until,
                        clock=clock or until,
                        audited=self.audited,
                    )
                num_online[name] = audit.num_entities
        return num_online

    def online_user(self, user_id: str) -> dict[str, Any]:
        """Return the user features of the serving service, all None for an unknown user, however old they are.

        Raises:
            FeatureStoreError: the online store cannot be read.
        """
        return {name: value for _, row in self.online_user_views(user_id).values() for name, value in row.items()}

    def online_user_views(self, user_id: str) -> dict[str, tuple[datetime | None, dict[str, Any]]]:
        """Return for each view of the serving service a user's event time and features; None where there is no row.

        Raises:
            FeatureStoreError: the online store cannot be read.
        """
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        key = EntityKey(join_keys=[USER_ID], entity_values=[Value(string_val=user_id)])
        found: dict[str, tuple[datetime | None, dict[str, Any]]] = {}
        with _explained("could not read online features", "run `tandem materialize-online`"):
            online, config, views = self._serving
            for view, names in views:
                at, values = online.online_read(config, view, [key], list(names))[0]
                row = {name: _python(values[name]) if values and name in values else None for name in names}
                found[view.name] = (at.replace(tzinfo=UTC) if at and at.tzinfo is None else at), row
        return found

    def audited_at(self) -> dict[str, datetime | None]:
        """Return for each view of the serving service when an audit found all of it online; None: never."""
        from pipelines.stores.materialization import audited_at

        with _explained("could not read when features were brought online", "run `tandem materialize-online`"):
            online, config, views = self._serving
            return {view.name: audited_at(online, config, view) for view, _ in views}

    def ttls(self) -> dict[str, timedelta]:
        """Return for each view of the serving service that declares one how long a row is valid.

        Raises:
            FeatureStoreError: the registry cannot be read.
        """
        with _explained("could not read the feature views", "check the registry's address and run the step again"):
            return {view.name: view.ttl for view, _ in self._serving[2] if view.ttl}

    def user_views(self) -> tuple[Any, Any, list[Any]]:
        """Return online store, configuration, and every view that the registry has of a user alone."""
        with _explained("could not list the feature views", "check the registry's address and run the step again"):
            store = self._open({})
            views = [view for view in store.list_feature_views() if view.join_keys == [USER_ID]]
            return store.provider.online_store, store.config, views

    @cached_property
    def _serving(self) -> tuple[Any, Any, list[tuple[Any, list[str]]]]:
        """Online store, configuration, and the views of one user: looked up once, read for every request."""
        store = self._open({})
        service = store.get_feature_service(self._serving_service)
        views = [
            (store.get_feature_view(projection.name), [field.name for field in projection.features])
            for projection in service.feature_view_projections
        ]
        return store.provider.online_store, store.config, views

    def _latest(self, store: "feast.FeatureStore", view: Any, until: datetime) -> pa.Table:
        """Key and stamps of the newest row of each entity up to `until`."""
        provider = store.provider
        return provider.offline_store.pull_latest_from_table_or_query(
            config=store.config,
            data_source=view.batch_source,
            join_key_columns=[column.name for column in view.entity_columns],
            feature_name_columns=[],
            timestamp_field=view.batch_source.timestamp_field,
            created_timestamp_column=view.batch_source.created_timestamp_column,
            start_date=EPOCH,
            end_date=until,
        ).to_arrow()

    def _open(self, versions: Mapping[str, int]) -> "feast.FeatureStore":
        """Open Feast with the feature tables pinned at `versions`; the last one opened is kept."""
        if self._opened is None or self._opened[0] != versions:
            self._opened = dict(versions), self._connect(versions)
        return self._opened[1]

    def _connect(self, versions: Mapping[str, int], *, registry_seconds: int | None = None) -> "feast.FeatureStore":
        import feast

        settings = read_profile(
            self._yaml,
            {
                "TANDEM_FEAST_PROJECT": self.project,
                "TANDEM_FEAST_HOME": str(self._folder),
                "TANDEM_LAKE_URI": self._lake_uri,
            },
        )
        if registry_seconds is not None:
            settings["registry"]["cache_ttl_seconds"] = registry_seconds
        settings["offline_store"] = self._offline(settings["offline_store"]) | {"versions": dict(versions)}
        self._folder.mkdir(parents=True, exist_ok=True)
        with _explained(f"could not open the feature store of {self._yaml}", "check the addresses in it"):
            return feast.FeatureStore(config=feast.RepoConfig(**settings))

    def _offline(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Complete the profile's offline store; on Spark its place is taken by the store with the same rules."""
        if self._spark is None:
            return settings | self._limits
        from pipelines.stores.spark_session import session_conf

        spill = settings["temp_directory"]
        kept = {name: settings[name] for name in ("lake_uri", "storage_options") if name in settings}
        return kept | {
            "type": SPARK_OFFLINE_STORE,
            "spark_conf": session_conf(self._spark, Path(spill)),
            "staging_uri": self._spark.staging_uri or spill,
        }


@contextlib.contextmanager
def _explained(problem: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except TandemError:
        raise
    except Exception as error:  # Feast and its stores raise errors of many libraries.
        raise FeatureStoreError(f"{problem}: {type(error).__name__}: {error}. To go on, {remedy}") from error


def _check_names(service: str, features: list[str], columns: list[str]) -> None:
    clashing = sorted(set(features) & set(columns))
    if clashing:
        raise FeatureStoreError(
            f"rows to join {service!r} to already have its features {clashing}; expected them without. Drop the columns"
        )


def _python(value: Any) -> Any:
    """Return a Feast value as a plain one: number, string, list, UTC datetime, or None."""
    kind = value.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    held = getattr(value, kind)
    if kind == "unix_timestamp_val":
        return EPOCH + timedelta(seconds=held)
    return list(held.val) if kind.endswith("_list_val") else held
