"""What a run works on and what it hands on: parameters and assets in, references out.

References are small JSON. The entrypoint is imported inside the task, so that reading a DAG file costs nothing.
"""

from datetime import date, timedelta
from typing import Any

from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

Json = dict[str, Any]


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def resolve_config(again: str | None = None) -> Json:
    """Turn this run's parameters into one resolved configuration that all its tasks read.

    A scheduled run has no parameters of its own: it goes on with the configuration that the asset `again` was
    published with last, and is skipped when there is none.
    """
    from pipelines import entrypoints

    context = get_current_context()
    if again is None or context["dag_run"].run_type != "scheduled":
        return entrypoints.resolve_params(dict(context["params"]))
    last = entrypoints.last_published(again)
    if last is None:
        raise AirflowSkipException("nothing was ingested on this platform yet, so there is no source to read again")
    return {"config": last["config"]}


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def receive(asset: str) -> Json:
    """Return the references of the asset event that triggered this run, or those published last."""
    from pipelines import entrypoints

    context = get_current_context()
    events = context["triggering_asset_events"].get(Asset(asset)) or []
    if not events:
        return entrypoints.receive(asset, None, dict(context["params"]))
    # Several events can come to one run; it is of served events alone only when all of them are.
    served = all(event.extra.get("served") for event in events)
    return entrypoints.receive(asset, {**events[-1].extra, "served": served}, dict(context["params"]))


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def resolve_drain() -> Json:
    """Choose the data set whose served events wait; the run is skipped when there are none."""
    from pipelines import entrypoints

    found = entrypoints.drainable(dict(get_current_context()["params"]))
    if found is None:
        raise AirflowSkipException("no served event waits")
    return {"config": found["config"]}


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def resolve_parity() -> Json:
    """Choose the data set whose requests are checked; the run is skipped when nothing was ingested here yet."""
    from pipelines import entrypoints

    params = dict(get_current_context()["params"])
    if entrypoints.last_published("events") is None:
        raise AirflowSkipException("nothing was ingested on this platform yet, so there is nothing to compare with")
    return {"config": entrypoints.receive("events", None, params)["config"]}


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def resolve_forgetting() -> Json:
    """Choose the data set of which a user is forgotten: the one named, or the one ingested last."""
    from pipelines import entrypoints

    return {"config": entrypoints.receive("events", None, dict(get_current_context()["params"]))["config"]}


@task(multiple_outputs=True, retries=0, execution_timeout=timedelta(minutes=2))
def resolve_day(asset: str) -> Json:
    """Return the configuration of a data set, and begin and end of the day that this run is for."""
    from pipelines import entrypoints

    context = get_current_context()
    params = dict(context["params"])
    if entrypoints.last_published(asset) is None:
        raise AirflowSkipException("nothing was ingested on this platform yet, so there are no features to compute")
    day = context["dag_run"].partition_key or params["day"]
    if not day:
        raise AirflowFailException("triggered by hand without a day; trigger it with one, or backfill days")
    begin = date.fromisoformat(day)
    end = begin + timedelta(days=1)
    config = entrypoints.receive(asset, None, params)["config"]
    return {"config": config, "start": f"{begin}T00:00:00Z", "end": f"{end}T00:00:00Z"}


@task(retries=0, execution_timeout=timedelta(minutes=2))
def resolve_workers(search: Json) -> list[int]:
    """Return a number for each task that works on the search at once: as many as asked for, if there are the trials."""
    asked = int(get_current_context()["params"]["workers"])
    return list(range(1, min(asked, search["num_trials"]) + 1))


@task(execution_timeout=timedelta(minutes=5))
def record(published: Json) -> None:
    """Remember this run's references, so that a DAG triggered by hand can go on from them."""
    from pipelines import entrypoints

    run = get_current_context()["run_id"]
    for asset, references in published.items():
        entrypoints.publish(asset, references, run)


def publish(asset: Asset, references: Json, hold: Any = False) -> Any:
    """Add the task that publishes references: as an asset event, which triggers the DAGs behind it, and as a file.

    With `hold` they are kept as a file alone: the DAGs behind it use them when something else starts those.
    """

    @task(task_id=f"publish_{asset.name}", outlets=[asset], execution_timeout=timedelta(minutes=5))
    def publish_asset(name: str, references: Json, hold: bool) -> None:
        """Publish the references, unless there is nothing new to work on."""
        from pipelines import entrypoints

        context = get_current_context()
        if not entrypoints.publish(name, references, context["run_id"])["changed"]:
            raise AirflowSkipException(f"nothing new in {name}, so the DAGs behind it are not triggered")
        if hold:
            raise AirflowSkipException(f"{name} changed by served events alone: training waits for the next ingestion")
        context["outlet_events"][Asset(name)].extra = references

    return publish_asset(asset.name, references, hold)
