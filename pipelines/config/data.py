"""Raw rows, features of them, and what training sets are made of."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.config.base import Section

MOVIELENS_SIZES = ("100k", "1m", "20m", "32m")


class SyntheticConfig(Section):
    """The built-in generator. Only these values and the seed decide its rows."""

    num_events: int = Field(250_000, ge=100, description="events made")
    num_users: int = Field(5_000, ge=10, description="users")
    num_items: int = Field(2_000, ge=10, description="items")
    num_days: int = Field(90, ge=4, description="days the events span")
    end: str = Field("2025-06-30T00:00:00Z", description="the moment after the last event")


class SourceConfig(Section):
    """Where raw rows come from."""

    kind: Literal["synthetic", "movielens", "csv", "parquet"] = Field(
        "synthetic", description="where raw rows come from"
    )
    size: Literal["100k", "1m", "20m", "32m"] | None = Field(
        None, description="MovieLens size to download without `path`"
    )
    path: Path | None = Field(None, description="folder (MovieLens) or folder of the mapped files (csv, parquet)")
    mapping: Path | None = Field(None, description="YAML file that maps csv or parquet columns to Tandem's")
    delay_seconds: float = Field(0.0, ge=0, description="how long after its event a row of this source becomes known")
    synthetic: SyntheticConfig = SyntheticConfig()


class ValidationConfig(Section):
    """When a raw partition is stopped rather than cleaned."""

    max_quarantined_share: float = Field(
        0.05, ge=0, le=1, description="share of rows set aside above which the partition is refused"
    )
    min_events: int = Field(1, ge=1, description="events a partition must have")
    max_volume_ratio: float = Field(20.0, gt=1, description="events a day against the lake's mean, either way")
    max_value_shift: float = Field(1.0, gt=0, description="mean value against the lake's, in its standard deviations")
    min_value: float = Field(-1e12, description="smallest legal `value`")
    max_value: float = Field(1e12, description="largest legal `value`")
    max_report_rows: int = Field(20, ge=1, description="examples of a broken rule shown in the report")
    min_served_events: int = Field(
        1_000, ge=1, description="a smaller batch of served events is not refused for its share of quarantined rows"
    )
    new_columns: Literal["accept", "quarantine", "stop"] = Field(
        "accept", description="a raw column of no contract: leave it out, set its rows aside, or refuse the partition"
    )
    missing_columns: Literal["accept", "quarantine", "stop"] = Field(
        "stop", description="an optional column is gone: take it as empty, set the rows aside, or refuse the partition"
    )
    retyped_columns: Literal["coerce", "quarantine", "stop"] = Field(
        "coerce", description="a column of another type: convert it, set its rows aside, or refuse the partition"
    )


class SparkConfig(Section):
    """The Spark that `features.engine: spark` computes on: in this process, or a cluster."""

    master: str = Field("local[*]", description="`local[*]`, `spark://host:7077`, `yarn`, `k8s://https://host:port`")
    driver_memory: str = Field("2g", description="heap of the driver, which in local mode does all the work")
    shuffle_partitions: int = Field(
        200, ge=1, description="tasks of a join at most; small ones are put together: about one for 128 MB of rows"
    )
    staging_uri: str = Field(
        "", description="folder or prefix that driver and executors share, for joined rows; empty: below home"
    )
    conf: dict[str, str | int | float | bool] = Field(
        {}, description="any other Spark property, such as `{spark.executor.memory: 8g}`"
    )

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if not self.master.startswith("local") and not self.staging_uri:
            raise ValueError(
                f"master {self.master!r} has executors elsewhere; expected staging_uri, a folder or prefix that they "
                "share with this machine"
            )
        return self


class FeatureConfig(Section):
    """How features are computed."""

    engine: Literal["duckdb", "spark"] = Field(
        "duckdb", description="where features are computed and joined, and neighbours found; `TANDEM_ENGINE` for short"
    )
    spark: SparkConfig = SparkConfig()

    history_length: int = Field(20, ge=1, le=200, description="recent items kept in order")
    seen_length: int = Field(5_000, ge=1, description="items remembered as seen, newest first")
    window_length: int = Field(
        2_000, ge=1, description="events a user of the last 30 days whose time serving knows, to slide windows on"
    )
    taste_length: int = Field(10, ge=1, description="categories kept in a user's taste")
    memory_limit: str = Field("2GB", description="DuckDB's budget; it spills to disk above")
    threads: int = Field(2, ge=1, description="DuckDB's threads")
    lookback_days: float = Field(
        2.0, ge=0, description="days before the last window that are brought online again, for rows that came late"
    )


class SplitConfig(Section):
    """Global temporal split of the labels, by share of events in time order."""

    validation_share: float = Field(
        0.05, gt=0, lt=0.5, description="share of labels, in time order, before the test part"
    )
    test_share: float = Field(0.10, gt=0, lt=0.5, description="newest share of labels")
    max_train_rows: int = Field(2_000_000, ge=100, description="newest labels kept for training")


class LeakageConfig(Section):
    """The proof that a training set knew only the past."""

    num_rows: int = Field(200, ge=3, description="labels whose features are worked out again from raw events")
    num_probed: int = Field(6_000, ge=100, description="labels on which each feature alone is tried as a predictor")
    max_future_events: int = Field(8_000, ge=10, description="events of the sample whose future is changed")
    max_auc: float = Field(0.95, gt=0.5, le=1, description="AUC of one feature alone above which it must be a leak")
