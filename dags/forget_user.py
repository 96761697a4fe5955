"""Forget a user: remove one from the lake and its history, from features, logs and caches, and prove it.

**When.** By hand, when a user asks to be forgotten. Pause `ingest_events` and `drain_events` and let running DAGs of
the data set end first: a step that runs writes what it has read before, and then this run fails and says where.

**Inputs.** The user's id, and the data set; empty is the one that was ingested last. Airflow keeps a run's parameters,
the id among them: delete this run in Airflow when it is done. `tandem forget-user` does the same without Airflow.

**What you get.** A report without the id: what was removed where, and what only people can remove. The asset `events`,
so features are computed and models trained without the user. What was published before cannot be read again: earlier
versions of the lake's tables of users are gone, and with them training sets that named them.

**When it fails.** Clear the task: it goes on where it was, and the report is the same.

- `forget_user`: a store was away, or something wrote meanwhile; the message names the place.
- `check_forgotten`: the user is still somewhere; the message names the places. See docs/operations.md, *Forget a user*.
"""

from airflow.sdk import Param, dag

from dags import handover, tasks
from dags.assets import EVENTS
from dags.defaults import DAG_ARGS, handed_params

USER_ID = Param(
    type="string",
    minLength=1,
    maxLength=256,
    title="User",
    description="Id of the user to forget. There is no way back.",
)


@dag(
    schedule=None,
    params={"user_id": USER_ID, **handed_params("events")},
    tags=["tandem", "data"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def forget_user() -> None:
    """Wire the tasks."""
    config = handover.resolve_forgetting()["config"]
    forgetting = tasks.forget_user(config)
    ingested = tasks.check_forgotten(config, forgetting)
    handover.publish(EVENTS, {"config": config, "ingested": ingested})


forget_user()
