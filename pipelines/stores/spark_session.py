"""One Spark session a process, and tables of the lake as its frames.

A cluster needs no Delta jar: which Parquet files a version consists of is read here, Spark reads the files. Nothing
that runs on executors is Python, so they need none of Tandem's environment.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.config import SparkConfig
from pipelines.errors import ConfigError, FeatureStoreError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

PLAIN_READER_VERSION = 1
REQUIRED = {
    "spark.sql.session.timeZone": "UTC",
    # Spark's own default is a type that nothing else writes any more.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


def session_conf(config: SparkConfig, scratch: Path) -> dict[str, str]:
    """Return Spark's properties; those of `config.conf` come last.

    Args:
        config: master, memory, partitions and other properties.
        scratch: folder to which a local Spark spills; a cluster decides for its executors.
    """
    plain = {
        "spark.master": config.master,
        "spark.app.name": "tandem",
        "spark.driver.memory": config.driver_memory,
        "spark.sql.shuffle.partitions": str(config.shuffle_partitions),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "spark-warehouse"),
    }
    if config.master.startswith("local"):
        # Its own name may lead to an address that this machine does not have.
        plain |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    # Spark writes truth in lower case.
    other = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in config.conf.items()}
    return plain | other


def open_session(conf: Mapping[str, str]) -> "SparkSession":
    """Return this process' Spark session, started with `conf` when there is none yet.

    Raises:
        ConfigError: PySpark or Java is not installed.
        FeatureStoreError: Spark did not start.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            "features.engine is 'spark', but PySpark is not installed; expected version 4. Run "
            "`.venv/bin/uv pip install --require-hashes -r requirements/spark.txt`"
        ) from error
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise ConfigError("features.engine is 'spark', but there is no Java; install Java 17 and set JAVA_HOME")
    builder = SparkSession.builder
    for name, value in conf.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # of the Java process, as whatever type
        raise FeatureStoreError(
            f"Spark did not start with master {conf.get('spark.master')!r}: {type(error).__name__}: {error}. "
            "Check features.spark.master and that Java is version 17 or newer"
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    for name, value in REQUIRED.items():
        session.conf.set(name, value)
    return session


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
