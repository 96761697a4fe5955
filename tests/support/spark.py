"""A small Spark in this process, and a home whose engine can be chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import FeatureConfig, SparkConfig
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.spark_session import open_session, session_conf
from tests.support.feature_data import DATASET, SHORT, Workspace

SMALL = SparkConfig(
    master="local[2]",
    driver_memory="1g",
    shuffle_partitions=2,
    # For tables of a few rows it costs most to plan anew after each stage, and to compile queries and Spark itself.
    conf={
        "spark.sql.adaptive.enabled": False,
        "spark.sql.codegen.wholeStage": False,
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    },
)
ON_SPARK = SHORT.model_copy(update={"engine": "spark", "spark": SMALL})


def small_session(scratch: Path) -> Iterator[object]:
    """Start a session, and end it with its Java process."""
    from pyspark import SparkContext

    session = open_session(session_conf(SMALL, scratch))
    yield session
    session.stop()
    gateway = SparkContext._gateway
    assert gateway is not None
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    SparkContext._gateway = SparkContext._jvm = None


@dataclass(frozen=True)
class SparkWorkspace(Workspace):
    """A home whose features are computed, joined and read by Spark."""

    config: FeatureConfig = ON_SPARK

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(home=self.home, dataset=DATASET, spark=SMALL)
