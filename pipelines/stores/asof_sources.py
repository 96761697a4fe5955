"""What the as-of offline store reads: feature rows of Delta or Parquet sources, and rows to join them to."""
# ruff: noqa: S608 - every identifier in the queries is quoted, file names are escaped

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
from feast.data_format import DeltaFormat

from pipelines.errors import FeatureStoreError
from pipelines.stores.asof_join import quote

if TYPE_CHECKING:
    from feast.data_source import DataSource

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def register_source(connection: Any, settings: Any, source: "DataSource") -> str:
    """Make the rows of a source a DuckDB relation and return its name, quoted.

    Args:
        connection: DuckDB connection.
        settings: the offline store's configuration: `lake_uri`, `versions`, `storage_options`.
        source: a Feast file source in Delta or Parquet format.
    """
    name = f"source_{source.name}"
    path = _resolve(settings.lake_uri, source.path)
    rows = _delta_rows(path, settings, source.name) if isinstance(source.file_format, DeltaFormat) else _parquet(path)
    if isinstance(rows, list):
        files = ", ".join("'" + file.replace("'", "''") + "'" for file in rows)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM read_parquet([{files}])")
    else:
        connection.register(name, rows)
    return quote(name)


def time_window(timestamp: str, start: datetime | None, end: datetime | None) -> str:
    """Return an SQL condition that `timestamp` is from `start` to `end`, inclusive."""
    moment = f"epoch_us({quote(timestamp)})"
    bounds = [f"{moment} >= {_epoch_us(start)}"] if start else []
    bounds += [f"{moment} <= {_epoch_us(end)}"] if end else []
    return " AND ".join(bounds) or "TRUE"


def entity_table(connection: Any, rows: Any) -> pa.Table:
    """Return rows to join features to, given as an Arrow table, a pandas frame or SQL, as an Arrow table."""
    if isinstance(rows, str):
        return connection.sql(rows).to_arrow_table()
    return rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)


def timestamp_column(rows: pa.Table) -> str:
    """Return the column with the rows' times: `event_timestamp`, or the only timestamp there is.

    Raises:
        FeatureStoreError: there is none, or more than one that could be meant.
    """
    moments = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    if "event_timestamp" in moments:
        return "event_timestamp"
    if len(moments) != 1:
        raise FeatureStoreError(
            f"entity rows have timestamp columns {moments}; expected `event_timestamp`, or exactly one. "
            "Rename the column with the labels' times"
        )
    return str(moments[0])


def _delta_rows(path: str, settings: Any, name: str) -> Any:
    """Local files of the pinned version; an Arrow dataset where DuckDB cannot open the files itself."""
    from deltalake import DeltaTable

    version = settings.versions.get(name)
    table = DeltaTable(path, version=version, storage_options=settings.storage_options or None)
    files = [unquote(uri) for uri in table.file_uris()]
    return files if files and "://" not in path else table.to_pyarrow_dataset()


def _parquet(path: str) -> list[str]:
    return [str(Path(path) / "**" / "*.parquet") if Path(path).is_dir() else path]


def _resolve(root: str, path: str) -> str:
    return path if "://" in path or Path(path).is_absolute() or not root else f"{root.rstrip('/')}/{path}"


def _epoch_us(moment: datetime) -> int:
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    span = aware - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
