"""What all DAGs share: owner, retries, and the parameters of the trigger form."""

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    CronPartitionTimetable,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
)

from pipelines import entrypoints

SOURCES = [
    "synthetic",
    "movielens-100k",
    "movielens-1m",
    "movielens-20m",
    "movielens-32m",
    "csv",
    "parquet",
]

# A retry helps when another component was away for a moment. It cannot help when data, settings or a
# model are at fault, so those fail at once, with their message. By name: DAGs import no error class.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[f"pipelines.errors.{name}" for name in ("LakeError", "FeatureStoreError", "RegistryError")],
            action=RetryAction.RETRY,
            reason="another component did not answer as expected; that often passes",
        ),
        RetryRule(exception="pipelines.errors.PlatformError", action=RetryAction.RETRY),
        RetryRule(
            exception="pipelines.errors.TandemError",
            action=RetryAction.FAIL,
            reason="trying again cannot help; the message says what can",
        ),
    ]
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "tandem",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(minutes=10),
}

# Daily, and not at the moment of installation: without a start date, the first run is the next one due.
NIGHTLY = CronTriggerTimetable("0 3 * * *", timezone="UTC", run_immediately=timedelta(0))

# When the nightly ingestion and what follows it are usually over.
AFTER_NIGHT = CronTriggerTimetable("30 4 * * *", timezone="UTC", run_immediately=timedelta(0))

# Often enough that online features, which the drain recomputes, never lean on more than minutes of events.
EVERY_TEN_MINUTES = CronTriggerTimetable("*/10 * * * *", timezone="UTC", run_immediately=timedelta(0))

# One run a day, for the day before, which is its partition: those can be backfilled by date range.
DAILY_PARTITIONS = CronPartitionTimetable(
    "0 1 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d", run_immediately=timedelta(0)
)

DAG_ARGS: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 1,
    "default_args": DEFAULT_ARGS,
    "render_template_as_native_obj": False,
}


def source_params() -> dict[str, Param]:
    """Return the parameters that choose data and configuration."""
    return {
        "source": Param(
            None,
            type=["null", "string"],
            enum=[None, *SOURCES],
            values_display={"null": "as configured"},
            title="Source",
            description="Where raw rows come from. Empty: as the configuration says (synthetic by default).",
        ),
        "data": Param(
            None,
            type=["null", "string"],
            title="Data folder",
            description="Absolute path of the source's files. Needed for csv and parquet; MovieLens is downloaded "
            "without it; synthetic needs none.",
        ),
        "mapping": Param(
            None,
            type=["null", "string"],
            title="Mapping file",
            description="Absolute path of the YAML file that maps csv or parquet columns to Tandem's.",
        ),
        "config": Param(
            None,
            type=["null", "string"],
            title="Configuration file",
            description="Absolute path of a YAML file to use instead of configs/default.yaml.",
        ),
        "dataset": Param(
            None,
            type=["null", "string"],
            pattern="^[a-z0-9][a-z0-9-]*$",
            title="Dataset",
            description="Namespace of lake, features and models, such as `shop`. Empty: named after the source.",
        ),
        "partition": Param(
            "all",
            type="string",
            pattern=r"^(all|\d{4}-\d{2}-\d{2}[^/]*/\d{4}-\d{2}-\d{2}[^/]*)$",
            title="Partition",
            description="`all`, or arrival dates START/END, half-open, such as 2025-01-01/2025-02-01.",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Seed",
            description="Decides the synthetic rows and the training. Empty: as the configuration says (7).",
        ),
        "settings": settings_param(),
    }


def handed_params(step: str) -> dict[str, Param]:
    """Return the parameters of a DAG that works on what an earlier one published."""
    return {
        "dataset": Param(
            None,
            type=["null", "string"],
            pattern="^[a-z0-9][a-z0-9-]*$",
            title="Dataset",
            description=f"Whose {step} to use when you trigger this by hand. Empty: those published last. "
            "A run that an asset triggered uses what that asset's event names.",
        ),
        "settings": settings_param(),
    }


def model_params() -> dict[str, Param]:
    """Return the parameters that choose the models and what the ranking model learns by."""
    return {
        "model": Param(
            None,
            type=["null", "string"],
            enum=[None, *entrypoints.model_names()],
            values_display={"null": "as configured"},
            title="Retrieval model",
            description="Which model retrieves; `tandem models` says what each needs and is good at. Empty: as "
            "the configuration says (two_tower by default). Its own settings: retrieval.settings in Settings.",
        ),
        "ranker": Param(
            None,
            type=["null", "string"],
            enum=[None, *entrypoints.ranker_names()],
            values_display={"null": "as configured"},
            title="Ranking model",
            description="Which model ranks; `tandem models` says what each is good at. Empty: as the configuration "
            "says (cross by default). Its own settings: ranking.settings in Settings.",
        ),
        "ranking_loss": Param(
            None,
            type=["null", "string"],
            enum=[None, *entrypoints.ranking_loss_names()],
            values_display={"null": "as configured"},
            title="Ranking loss",
            description="What the ranking model learns by; `tandem models` lists them. Empty: as the configuration "
            "says (logistic by default).",
        ),
    }


def search_params() -> dict[str, Param]:
    """Return the parameters of a search for settings."""
    return {
        "trials": Param(
            20, type="integer", minimum=1, title="Trials", description="Settings that are tried in all, by all tasks."
        ),
        "workers": Param(
            2,
            type="integer",
            minimum=1,
            maximum=64,
            title="Tasks at once",
            description="Tasks that share the trials. Each trains in a process of its own: mind memory and processors.",
        ),
        "space": Param(
            {},
            type=["object", "null"],
            title="Space",
            description='Setting -> list or range, such as {"retrieval.learning_rate": "log:1e-4..1e-2", '
            '"retrieval.embedding_dim": [32, 64]}. Empty: the model\'s own, which `tandem models --json` shows.',
        ),
        "study": Param(
            None,
            type=["null", "string"],
            pattern="^[a-z0-9][a-z0-9._-]*$",
            title="Study",
            description="Name of the search: one that is there goes on, and may get more trials. Empty: named after "
            "data set, model and what is searched.",
        ),
    }


def as_of_param() -> Param:
    """Return the parameter that fixes the moment whose knowledge is used."""
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="As of",
        description="Only what was known before this moment is used. Empty: all that is in the lake.",
    )


def since_param() -> Param:
    """Return the parameter that says where the window of materialization begins."""
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Since",
        description="Feature rows from here on, and from `features.lookback_days` before, are written online. Empty: "
        "where the features published last end; everything where there are none.",
    )


def backfill_params() -> dict[str, Param]:
    """Return the parameters of a run for one past day."""
    return {
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="The day of a run that you trigger by hand. A scheduled or backfilled run has its own.",
        ),
        "online": Param(
            False,
            type="boolean",
            title="Online",
            description="Bring the day's values into the online store too; newer ones there are never replaced.",
        ),
    }


def settings_param() -> Param:
    """Return the parameter for single settings."""
    return Param(
        {},
        type=["object", "null"],
        title="Settings",
        description='Settings over the configuration, such as {"retrieval.epochs": 3}; see docs/configuration.md.',
    )
