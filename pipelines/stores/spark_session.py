"""One Spark session a process. Nothing that runs on executors is Python: they need none of Tandem's environment."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import SparkConfig
from pipelines.errors import ConfigError, FeatureStoreError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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
