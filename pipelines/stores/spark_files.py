"""Parquet files and Delta tables as Spark frames.

A cluster needs no Delta jar: which files a version consists of is read here, Spark reads the files.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.errors import FeatureStoreError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

PLAIN_READER_VERSION = 1


def read_files(session: "SparkSession", files: Sequence[str], schema: "pa.Schema") -> "DataFrame":
    """Return the rows of Parquet files by the columns of `schema`; files that lack one have nulls in it."""
    from pyspark.sql.pandas.types import from_arrow_schema

    kinds = from_arrow_schema(schema, prefer_timestamp_ntz=True)
    return session.read.schema(kinds).parquet(*files) if files else session.createDataFrame([], kinds)


def read_delta(
    session: "SparkSession", uri: str, version: int | None, storage_options: Mapping[str, str] | None
) -> "DataFrame":
    """Return the rows of a Delta table at a version; None is the newest.

    Raises:
        FeatureStoreError: a list of its files does not say what its rows are: deletion vectors, renamed columns,
            partitions.
    """
    import pyarrow as pa
    from deltalake import DeltaTable

    table = DeltaTable(uri, version=version, storage_options=dict(storage_options or {}) or None)
    protocol, partitions = table.protocol(), table.metadata().partition_columns
    if protocol.min_reader_version != PLAIN_READER_VERSION or partitions:
        raise FeatureStoreError(
            f"Delta table {uri} needs reader version {protocol.min_reader_version} "
            f"({', '.join(protocol.reader_features or []) or 'no named features'}) and is partitioned by {partitions}; "
            "expected version 1 without partitions, which Spark reads by the list of its files. Write it anew"
        )
    return read_files(session, local_names(table.file_uris()), pa.schema(table.schema().to_arrow()))


def local_names(uris: Sequence[str]) -> list[str]:
    """Return file names as Spark opens them: Delta percent-encodes those of local files, too."""
    return [uri if "://" in uri else unquote(uri) for uri in uris]


def columns_of(rows: "DataFrame", schema: "pa.Schema") -> "DataFrame":
    """Return the columns of `schema`, in its order and types."""
    from pyspark.sql import functions as fn
    from pyspark.sql.pandas.types import from_arrow_schema

    kinds: Any = from_arrow_schema(schema)
    return rows.select([fn.col(field.name).cast(field.dataType).alias(field.name) for field in kinds])
