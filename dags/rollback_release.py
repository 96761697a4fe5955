"""Undo a promotion: make an earlier release champion again, and see it served.

**When.** By hand, when the champion is not what you want. It takes seconds, and no request fails meanwhile.

**Inputs.** Nothing: the release that was champion before this one. Or a version of `recommender`. And a reason, which
MLflow keeps with your name and the time, as a tag of the registered model `recommender`.

**What happens.** The release is looked at first: its bytes are those that were registered, its index belongs to its
query tower, the feature services it needs are declared. Then the alias `champion` moves, serving loads the release, and
it is asked for recommendations over HTTP; otherwise the alias is put back. The release you left is not promoted again
by itself.

**When it fails.**

- `receive`: no release was ever built on this platform.
- `rollback_release`: there is nothing to go back to, or the release is not whole, or serving does not take it; the
  message says which, and which release is champion now.
"""

from airflow.sdk import Param, dag

from dags import handover, tasks
from dags.assets import CHAMPION, RELEASE
from dags.defaults import DAG_ARGS, handed_params

PARAMS = {
    "to": Param(
        None,
        type=["null", "string"],
        pattern="^[1-9][0-9]*$",
        title="Version",
        description="Version of `recommender` to go back to. Empty: the champion before the one that is now.",
    ),
    "reason": Param(
        "",
        type=["null", "string"],
        maxLength=2000,
        title="Reason",
        description="Why, for those who look at it later. Kept in MLflow.",
    ),
}


@dag(
    schedule=None,
    params={**PARAMS, **handed_params("release")},
    tags=["tandem", "release"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def rollback_release() -> None:
    """Wire the tasks."""
    config = handover.receive(RELEASE.name)["config"]
    move = tasks.rollback_release(config)
    handover.publish(CHAMPION, {"config": config, "rollback": move})


rollback_release()
