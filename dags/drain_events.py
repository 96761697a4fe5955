"""Bring served events into the lake: claim those that wait, validate them, append them exactly once.

**When.** Every ten minutes, and whenever you trigger it. A run that adds rows triggers `materialize_features` through
the asset `events`; a run that finds none is skipped.

**Inputs.** Events that `POST /v1/events` acknowledged. They go to the data set of the release that answered then; what
came before serving had a release goes to the data set that was ingested last.

**When it fails.** The claimed events stay claimed: the next run goes on with the same ones, and none is lost or added
twice. More pile up behind them meanwhile, safe in the log.

- `resolve_drain`: events wait for a data set that was never ingested here. Run `ingest_events` for it.
- `validate_partition`: too large a share of a large batch was set aside. The message gives the path of the report. Find
  out who sends such events, or raise `validation.max_quarantined_share` under Settings for this run.
- `append_partition`, `finish_drain`: the lake was away. Clear the task, or wait for the next run.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import EVENTS
from dags.defaults import DAG_ARGS, EVERY_TEN_MINUTES, handed_params


@dag(schedule=EVERY_TEN_MINUTES, params=handed_params("events"), tags=["tandem", "data"], doc_md=__doc__, **DAG_ARGS)
def drain_events() -> None:
    """Wire the tasks."""
    config = handover.resolve_drain()["config"]
    sealed = tasks.seal_events(config)
    validated = tasks.validate_partition(config, sealed["raw"], sealed["until"])
    ingested = tasks.append_partition(config, validated)
    finished = tasks.finish_drain(config, sealed["drain"], ingested)
    handover.publish(EVENTS, {"config": config, "ingested": finished, "served": True})


drain_events()
