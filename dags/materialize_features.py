"""Compute features at a snapshot of the lake and bring them into the online store.

**When.** After `ingest_events` or `drain_events` added rows (asset `events`), and whenever you trigger it. It triggers
`train_models` through the asset `features`, unless drained events alone brought the rows: models follow ingestions.

**Inputs.** The partition that the triggering event names. By hand: the dataset whose events were published last, and
optionally the moment *as of* which features are computed.

**Windows.** `materialize_online` writes the rows from where the last run ended, less `features.lookback_days`, to the
snapshot's moment, and never over newer ones. Then it compares every entity online with offline: what the window missed
is written too. Its log has a line for each view.

**When it fails.**

- `receive`: nothing was ingested yet. Trigger `ingest_events` first.
- `take_snapshot`: the lake has no events of this dataset before *as of*. Choose a later moment.
- `compute_features`: not enough memory or disk; the message says which. Lower `features.memory_limit` under Settings.
  Or the declared features lack what the champion reads, which the message names; nothing was changed. Put it back, or
  declare a new version of the service, as `docs/features.md` says.
- `feature_catalogue`: MLflow does not answer. Clear the task when it does; nothing waits for it.
- `materialize_online`: the online store lacks entities or has older values than it should. Clear the task; if that does
  not help, delete `feast/online.db` below the home and clear it again: everything in it is computed from the lake.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import EVENTS, FEATURES
from dags.defaults import DAG_ARGS, as_of_param, handed_params, since_param


@dag(
    schedule=[EVENTS],
    params={"as_of": as_of_param(), "since": since_param(), **handed_params("events")},
    tags=["tandem", "features"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def materialize_features() -> None:
    """Wire the tasks."""
    given = handover.receive(EVENTS.name)
    config = given["config"]
    snapshot = tasks.take_snapshot(config, tasks.AS_OF)
    computed = tasks.compute_features(config, snapshot)
    features = tasks.materialize_online(config, computed, tasks.SINCE)
    tasks.feature_catalogue(config, features)
    handover.publish(FEATURES, {"config": config, "features": features}, hold=given["served"])


materialize_features()
