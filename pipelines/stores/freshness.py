"""How old features may be where they are read for serving, and by when a view has to be brought up to date.

Feast's regular online read returns a value however old it is, also of a view that declares a `ttl`. The policy of
each view is in `feature_repo/freshness.yaml`; a declared `ttl` is enforced with it.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError, FeatureStoreError

_logger = logging.getLogger(__name__)
POLICIES = REPOSITORY / "feature_repo" / "freshness.yaml"


class ExpiredFeaturesError(FeatureStoreError):
    """A view whose policy is `fail` has only a row that is older than its time to live."""


class ViewFreshness(BaseModel):
    """The policy of one feature view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl_seconds: float | None = Field(None, gt=0, description="age above which a row has expired; none: never")
    when_expired: Literal["null", "default", "fail"] = Field(
        "null",
        description="what is read then: nothing, `defaults`, or no user features at all, as if the store was down",
    )
    defaults: dict[str, Any] = Field(default_factory=dict, description="feature -> value, for `default`")
    objective_seconds: float | None = Field(
        None, gt=0, description="how long ago the view may have been brought up to date; more is stale; none: any time"
    )


def read_policies(file: Path | None = None) -> dict[str, ViewFreshness]:
    """Read the policy of each view.

    Raises:
        ConfigError: the file is missing or not legal; the message names the key.
    """
    import yaml

    path = file or POLICIES
    try:
        return TypeAdapter(dict[str, ViewFreshness]).validate_python(yaml.safe_load(path.read_text()) or {})
    except FileNotFoundError as error:
        raise ConfigError(f"freshness policies {path} do not exist; expected a YAML file, view -> policy") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(
            f"freshness policies {path} are not legal: {error}. See pipelines/stores/freshness.py"
        ) from error


def enforced(policies: Mapping[str, ViewFreshness], ttls: Mapping[str, timedelta]) -> dict[str, ViewFreshness]:
    """Return the policies of views whose rows also expire after what Feast declares: the shorter time counts.

    A `ttl_seconds` unlike what is declared is logged: models are trained with what joins give, by the declared one.

    Args:
        policies: view -> policy.
        ttls: view -> its declared `ttl`; a view left out has none.
    """
    found = dict(policies)
    for view, policy in policies.items():
        declared = ttls[view].total_seconds() if view in ttls else None
        if policy.ttl_seconds is not None and policy.ttl_seconds != declared:
            _logger.warning(
                "%r: ttl_seconds is %s s and the view's ttl %s; serving goes by the shorter one, joins by the view's. "
                "Expected them to be equal: see docs/features.md, How long values are valid",
                view, f"{policy.ttl_seconds:,.0f}", "none" if declared is None else f"{declared:,.0f} s",
            )  # fmt: skip
    for view, ttl in ttls.items():
        policy = policies.get(view, ViewFreshness())
        seconds = min(ttl.total_seconds(), policy.ttl_seconds or ttl.total_seconds())
        found[view] = policy.model_copy(update={"ttl_seconds": seconds})
    return found


def readable(
    view: str, values: Mapping[str, Any], age_seconds: float | None, policy: ViewFreshness
) -> Mapping[str, Any]:
    """Return what may be read of a view's row.

    Args:
        view: its name.
        values: feature -> value.
        age_seconds: since the row's event time; None when there is no row.
        policy: of the view.

    Raises:
        ExpiredFeaturesError: the row has expired and the policy is `fail`.
    """
    if not expired(age_seconds, policy):
        return values
    if policy.when_expired == "fail":
        raise ExpiredFeaturesError(
            f"{view!r} is {age_seconds:,.0f} s old; expected {policy.ttl_seconds:,.0f} s at most. "
            "Run materialize_features"
        )
    return {name: policy.defaults.get(name) if policy.when_expired == "default" else None for name in values}


def expired(age_seconds: float | None, policy: ViewFreshness) -> bool:
    """Return whether a row is older than its view's time to live."""
    return age_seconds is not None and policy.ttl_seconds is not None and age_seconds > policy.ttl_seconds


def stale(
    audited: Mapping[str, datetime | None], policies: Mapping[str, ViewFreshness], now: datetime
) -> dict[str, float | None]:
    """Return the views that miss their objective -> seconds since they were up to date; None: they never were."""
    ages = {view: None if at is None else (now - at).total_seconds() for view, at in audited.items()}
    limits = {view: policies[view].objective_seconds for view in ages if view in policies}
    return {
        view: age
        for view, age in ages.items()
        if (limit := limits.get(view)) is not None and (age is None or age > limit)
    }
