"""Index the item corpus for one retrieval version and assemble a release.

**When.** After `train_models` (asset `models`), and whenever you trigger it. It triggers `promote_release` through the
asset `release`.

**Inputs.** The evaluated pair of models that the triggering event names. By hand: the pair of a dataset published last.

**What you get.** A version of `recommender` in MLflow: query tower, ranker, index, item features and rules with the
digest of each. Nothing is served differently yet.

**When it fails.**

- `receive`: no models were trained yet. Trigger `train_models` first.
- `build_index`: the index finds less of the exact neighbours than `index.min_recall`. Raise `index.brute_force_below`
  above the number of items to search exactly, or lower the floor, under Settings.
- `assemble_release`: an artifact's bytes are not those registered. Clear `build_index` and what follows.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import MODELS, RELEASE
from dags.defaults import DAG_ARGS, handed_params


@dag(
    schedule=[MODELS],
    params=handed_params("models"),
    tags=["tandem", "release"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def build_index() -> None:
    """Wire the tasks."""
    given = handover.receive(MODELS.name)
    config = given["config"]
    index = tasks.build_index(config, given["evaluation"])
    release = tasks.assemble_release(config, given["evaluation"], index)
    handover.publish(RELEASE, {"config": config, "release": release})


build_index()
