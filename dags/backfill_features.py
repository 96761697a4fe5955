"""Compute the features of past days again and keep each day's rows as files.

**When.** Every day at 01:00 UTC for the day before, and for any range of days: *Trigger*, *Backfill*, choose the dates.
Airflow makes one run a day, a partition named by its date; days that have a run already are left out unless you ask to
reprocess them.

**Inputs.** The data set whose events were ingested last, or the one you name. Of each day, what was known at its end:
late rows count from the day they came. *Online* brings the day's values into the online store too, where they never
replace newer ones; it is off by default, and then the online store is not touched.

**What you get.** One Parquet file a feature view below `runs/<dataset>/export_features` in the home, with the rows
whose values became knowable that day. The same rows give the same files, byte for byte; the log has path and digest.

**When it fails.**

- `resolve_day`: a run by hand needs a day, such as 2025-06-01. Skipped: nothing was ingested yet.
- `take_snapshot`: the lake has no events before the end of that day. Choose later days.
- `compute_features`: not enough memory or disk; lower `features.memory_limit` under Settings.
- `materialize_if_asked`: the online store does not answer. Clear the task when it does.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import EVENTS
from dags.defaults import DAG_ARGS, DAILY_PARTITIONS, backfill_params, handed_params


@dag(
    schedule=DAILY_PARTITIONS,
    params={**backfill_params(), **handed_params("events")},
    tags=["tandem", "features"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def backfill_features() -> None:
    """Wire the tasks."""
    given = handover.resolve_day(EVENTS.name)
    config = given["config"]
    snapshot = tasks.take_snapshot(config, given["end"])
    computed = tasks.compute_features(config, snapshot)
    tasks.export_features(config, computed, given["start"], given["end"])
    tasks.materialize_if_asked(config, computed, given["start"])


backfill_features()
