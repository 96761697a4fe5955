"""What is served, and where the components are."""

from typing import Literal

from pydantic import Field

from pipelines.config.base import Section


class PromotionConfig(Section):
    """When a release may become champion."""

    metric: str = Field("ndcg_at_10", description="of the holdout")
    max_regression: float = Field(0.02, ge=0, description="relative loss against the champion that is still promoted")
    min_lift_over_popularity: float = Field(0.0, description="relative gain over popularity that is required")
    serving_timeout_seconds: float = Field(
        60.0, gt=0, description="how long serving may take to answer from the release"
    )


class RulesConfig(Section):
    """Business rules a release carries."""

    exclude_seen: bool = Field(True, description="leave out what the user has seen")
    max_per_category: int | None = Field(None, ge=1, description="items of one category in an answer; none is no limit")
    blocked_items: tuple[str, ...] = Field((), description="items never shown")


class DrainConfig(Section):
    """How served events come into the lake."""

    keep_hours: float = Field(
        24.0, ge=1, description="how long drained records stay in the log, for serving processes that start"
    )
    keep_runs_hours: float = Field(
        2.0, ge=0, description="how long staged rows and reports of drained batches are kept; a report is about 4 MB"
    )


class ParityConfig(Section):
    """When features that serving used differ too much from those computed offline for the same moment."""

    max_requests: int = Field(2_000, ge=1, description="requests recomputed; of more, a sample by seed")
    max_days: float = Field(2.0, gt=0, description="how far back requests are looked at")
    lag_seconds: float = Field(
        2.0, ge=0, description="an event this new at the request may be in its features or not: the speed layer's goal"
    )
    max_mismatch_share: float = Field(
        0.02, ge=0, le=1, description="share of requests, for any one feature, above which the check fails"
    )
    min_requests: int = Field(20, ge=1, description="with fewer requests to compare the check reports and never fails")


class PortsConfig(Section):
    """Where the interfaces listen on this machine."""

    airflow: int = Field(8080, ge=1, le=65535, description="Airflow's interface")
    mlflow: int = Field(5000, ge=1, le=65535, description="MLflow's interface")
    serving: int = Field(8000, ge=1, le=65535, description="the serving component")
    feast: int = Field(8889, ge=1, le=65535, description="Feast's pages of the feature registry")


class ServicesConfig(Section):
    """Addresses of other components. Empty values mean the embedded profile's local ones."""

    mlflow_uri: str = Field("", description="tracking server; empty: the embedded one")
    serving_url: str = Field("", description="serving; empty: the embedded one")
    lake_uri: str = Field("", description="folder or object-store prefix; empty: below home")
    feature_store_yaml: str = Field("", description="feature_repo yaml of the profile; empty: embedded")
    served_log: Literal["files", "redis"] = Field(
        "files", description="where serving keeps events: files below home, or Redis at SERVED_REDIS"
    )
    search_storage: Literal["sqlite", "postgres"] = Field(
        "sqlite", description="where searches are kept: a file below home, or PostgreSQL at SEARCH_DATABASE"
    )
    task_logs: str = Field("", description="folder of Airflow's logs, which users are removed from; empty: below home")
