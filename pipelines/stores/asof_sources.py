"""What the as-of offline store reads: the feature rows of Delta or Parquet sources, local or in an object store."""
# ruff: noqa: S608 - every identifier in the queries is quoted, file names are escaped

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from feast.data_format import DeltaFormat

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_join import microseconds, quote

if TYPE_CHECKING:
    from feast.data_source import DataSource

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAIN_READER_VERSION = 1


def register_source(connection: Any, settings: Any, source: "DataSource") -> str:
    """Make the rows of a source a DuckDB relation and return its name, quoted.

    Args:
        connection: DuckDB connection.
        settings: the offline store's configuration: `lake_uri`, `versions`, `storage_options`.
        source: a Feast file source in Delta or Parquet format.

    Raises:
        FeatureStoreError: the source is not made of files.
    """
    require_files(source)
    name = f"source_{source.name}"
    path = resolve(settings.lake_uri, source.path)
    read = _delta_rows if isinstance(source.file_format, DeltaFormat) else _parquet_rows
    rows = read(path, settings, source.name)
    if isinstance(rows, str):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM {rows}")
    else:
        connection.register(name, rows)
    return _in_microseconds(connection, quote(name), source)


def require_files(source: "DataSource") -> None:
    """Check that a source is made of files.

    Raises:
        FeatureStoreError: it is not.
    """
    if not hasattr(source, "file_format"):
        raise FeatureStoreError(
            f"source {source.name!r} is a {type(source).__name__}; expected a FileSource of Delta or Parquet files. "
            "Declare one"
        )


def require_rows(entity_df: Any, others: dict[str, Any]) -> None:
    """Check that features were asked for rows, not for a range of time.

    Raises:
        FeatureStoreError: there are no rows.
    """
    if entity_df is None:
        raise FeatureStoreError(
            f"features were asked for a time range ({sorted(others) or 'no rows'}); expected rows with their "
            "keys and times. Pass entity_df as a frame, an Arrow table or SQL"
        )


def _in_microseconds(connection: Any, relation: str, source: "DataSource") -> str:
    """A relation whose times are no finer than a microsecond: see `asof_join.microseconds`."""
    columns = {new: old for old, new in source.field_mapping.items()}
    stamps = {columns.get(name, name) for name in (source.timestamp_field, source.created_timestamp_column) if name}
    described = connection.sql(f"SELECT * FROM {relation} LIMIT 0")
    kinds = dict(zip(described.columns, map(str, described.types), strict=True))
    finer = {name for name in stamps if kinds.get(name, "").endswith("_NS")}
    if not finer:
        return relation
    casts = [f"make_timestamptz({microseconds(name, kinds[name], up=True)}) AS {quote(name)}" for name in sorted(finer)]
    view = quote(f"microseconds_{source.name}")
    query = f"SELECT * REPLACE ({', '.join(casts)}) FROM {relation}"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {query}")
    return view


def time_window(timestamp: str, start: datetime | None, end: datetime | None) -> str:
    """Return an SQL condition that `timestamp` is from `start` to `end`, inclusive."""
    moment = f"epoch_us({quote(timestamp)})"
    bounds = [f"{moment} >= {epoch_us(start)}"] if start else []
    bounds += [f"{moment} <= {epoch_us(end)}"] if end else []
    return " AND ".join(bounds) or "TRUE"


def resolve(root: str, path: str) -> str:
    """Return where a source's `path` is: relative ones start from `root`."""
    return path if "://" in path or Path(path).is_absolute() or not root else f"{root.rstrip('/')}/{path}"


def open_filesystem(path: str, storage_options: dict[str, str]) -> tuple[Any, str]:
    """Return the Arrow file system that holds `path`, and the path within it.

    Object stores are reached as Delta reaches them: by `storage_options`, then by the environment.
    """
    from deltalake.fs import DeltaStorageHandler
    from pyarrow import fs

    if "://" not in path:
        return fs.LocalFileSystem(), str(Path(path).absolute())
    parent, _, name = path.rstrip("/").rpartition("/")
    return fs.PyFileSystem(DeltaStorageHandler(parent, storage_options or None)), name


def _delta_rows(path: str, settings: Any, name: str) -> Any:
    """Rows of the pinned version: DuckDB opens plain local files itself, Arrow opens the rest for it.

    What Arrow's reader does not understand, such as deletion vectors, it refuses.
    """
    from deltalake import DeltaTable

    version = settings.versions.get(name)
    table = DeltaTable(path, version=version, storage_options=settings.storage_options or None)
    files = [unquote(uri) for uri in table.file_uris()]
    plain = table.protocol().min_reader_version == PLAIN_READER_VERSION and not table.metadata().partition_columns
    if not files or not plain or "://" in path:
        return table.to_pyarrow_dataset()
    # Files from before a column was added lack it.
    return _read_parquet(files, union_by_name=True)


def _parquet_rows(path: str, settings: Any, name: str) -> Any:
    """Rows of one Parquet file, of those a pattern matches, or of all below a folder."""
    if "://" in path:
        from pyarrow import dataset

        filesystem, within = open_filesystem(path, settings.storage_options)
        return dataset.dataset(within, filesystem=filesystem, format="parquet")
    folder = Path(path).is_dir()
    return _read_parquet([str(Path(path) / "**" / "*.parquet") if folder else path], union_by_name=folder)


def _read_parquet(files: list[str], *, union_by_name: bool) -> str:
    names = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet([{names}], union_by_name = {union_by_name})"


def epoch_us(moment: datetime) -> int:
    """Return microseconds since 1970; a moment without a zone is UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    span = aware - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
