"""Bring raw rows into the lake: read a partition, validate it, append it exactly once.

**When.** Every day at 03:00 UTC, and whenever you trigger it. A run that adds rows triggers `materialize_features`
through the asset `events`; a run that adds none ends there.

**Inputs.** The trigger form: a source, its folder, a partition. A scheduled run reads again the source that was
ingested last, and is skipped when there was none.

**When it fails.**

- `read_partition`: the source is missing, empty or of an unknown layout. The message names the file and what was
  expected. Correct the folder or the parameter and trigger again.
- `validate_partition`: a rule of the whole table broke, or too large a share of rows was set aside. The message says
  which and gives the path of the Data Docs page with examples. Nothing has reached the lake. Correct the data, or raise
  `validation.max_quarantined_share` under Settings if the share is acceptable.
- `append_partition`: clear the task. It can be run any number of times; rows that are there are not added again.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import EVENTS
from dags.defaults import DAG_ARGS, NIGHTLY, source_params


@dag(schedule=NIGHTLY, params=source_params(), tags=["tandem", "data"], doc_md=__doc__, **DAG_ARGS)
def ingest_events() -> None:
    """Wire the tasks."""
    given = handover.resolve_config(EVENTS.name)
    config = given["config"]
    raw = tasks.read_partition(config, tasks.PARTITION)
    validated = tasks.validate_partition(config, raw, tasks.RUN_CLOCK)
    ingested = tasks.append_partition(config, validated)
    handover.publish(EVENTS, {"config": config, "ingested": ingested})


ingest_events()
