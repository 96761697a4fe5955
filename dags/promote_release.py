"""Make a release the champion, if it is good enough, and see it served.

**When.** After `build_index` (asset `release`), and whenever you trigger it.

**Inputs.** The release that the triggering event names. By hand: the release of a dataset published last.

**What happens.** The release is held against popularity and the champion. If it is good enough, the alias `champion`
moves to it, serving loads it, and it is asked for recommendations over HTTP. A release that is not good enough stays
in MLflow, and the run says why.

**When it fails.**

- `receive`: there is no release yet. Trigger `build_index` first.
- `promote_release`: serving did not report the release in time, or its answers were not as expected; the alias is back
  where it was. `tandem status` tells whether serving runs and where its log is. Clear the task to try again.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import CHAMPION, RELEASE
from dags.defaults import DAG_ARGS, handed_params


@dag(
    schedule=[RELEASE],
    params=handed_params("release"),
    tags=["tandem", "release"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def promote_release() -> None:
    """Wire the tasks."""
    given = handover.receive(RELEASE.name)
    config = given["config"]
    comparison = tasks.compare_release(config, given["release"])
    promotion = tasks.promote_release(config, comparison)
    handover.publish(CHAMPION, {"config": config, "promotion": promotion})


promote_release()
