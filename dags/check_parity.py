"""Compare the features that serving used with those computed offline for the same moments.

**When.** Every day at 04:30 UTC, and whenever you trigger it.

**Inputs.** The sample of requests whose features serving logged (`TANDEM_SERVING__FEATURE_LOG_SHARE`), of the last
`parity.max_days`, as far as all events before them are drained. By hand: the requests of one data set, and settings.

**What you get.** A report, a line a feature, beside the champion's run in MLflow: for how many requests serving used
another value than training would have seen at that moment, with an example.

**When it fails.**

- `check_parity`: a feature differs for more than `parity.max_mismatch_share` of the requests. The message names it with
  an example. What skews features, and what to do, is in docs/operations.md under *Features served differ*.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.defaults import AFTER_NIGHT, DAG_ARGS, handed_params


@dag(schedule=AFTER_NIGHT, params=handed_params("events"), tags=["tandem", "features"], doc_md=__doc__, **DAG_ARGS)
def check_parity() -> None:
    """Wire the tasks."""
    config = handover.resolve_parity()["config"]
    tasks.check_parity(config, tasks.RUN_CLOCK)


check_parity()
