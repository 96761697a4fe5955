"""Settings of the serving component, from the environment only."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.config import DEFAULT_HOME
from pipelines.errors import ConfigError
from pipelines.stores.freshness import POLICIES

PREFIX = "TANDEM_SERVING__"


class Settings(BaseModel):
    """Each field is read from `TANDEM_SERVING__<FIELD>`, `home` from `TANDEM_HOME`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = DEFAULT_HOME
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    mlflow_uri: str = Field("http://127.0.0.1:5000", description="MLflow tracking server")
    feature_store_yaml: str = Field("", description="Feast yaml of the profile; empty: the embedded one below home")
    freshness_file: Path = Field(POLICIES, description="YAML: how old the features of each view may be")
    release_objective_seconds: float | None = Field(
        None, gt=0, description="how long ago the release's item features may be as of; none: any time"
    )
    alias: str = Field("champion", min_length=1, description="alias of `recommender` that is served")
    poll_seconds: float = Field(2.0, gt=0, description="pause between looks at the alias")
    retry_seconds: float = Field(30.0, gt=0, description="pause before a refused release is tried again")
    store_retry_seconds: float = Field(1.0, ge=0, description="pause before a failed online store is asked again")
    max_count: int = Field(200, ge=1, description="most items one request may ask for")
    max_events: int = Field(500, ge=1, description="most events one request may carry")
    max_body_bytes: int = Field(1_048_576, ge=1024)
    threads: int = Field(0, ge=0, description="threads that score; 0: one a core")
    overlay_users: int = Field(100_000, ge=1, description="users whose newest events are kept in memory")
    overlay_length: int = Field(1_000, ge=1, description="events kept in memory for one user")
    served_log: Literal["files", "redis"] = Field(
        "files", description="where events are kept: files below home, or Redis at SERVED_REDIS"
    )
    follow_seconds: float = Field(0.2, gt=0, le=2, description="pause between looks at the events of other processes")
    feature_log_share: float = Field(
        0.1, ge=0, le=1, description="share of recommendations whose features are kept for the parity check"
    )
    feature_log_hours: float = Field(48.0, gt=0, description="how long they are kept")
    feature_log_bytes: int = Field(256 * 2**20, ge=2**20, description="disk they may take, a data set")
    log_level: str = Field("info", pattern="^(critical|error|warning|info|debug)$")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: a variable with our prefix is unknown, or a value is not legal; the message names it.
    """
    environment = os.environ if environment is None else environment
    values = {k.removeprefix(PREFIX).lower(): v for k, v in environment.items() if k.startswith(PREFIX)}
    if environment.get("TANDEM_HOME"):
        values["home"] = environment["TANDEM_HOME"]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise ConfigError(f"serving settings are not valid: {'; '.join(problems)}. See serving/settings.py") from error
