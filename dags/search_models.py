"""Search a model's best settings on the validation window, by several tasks at once.

**When.** By hand. It publishes nothing: train with what it found when you have looked at it.

**Inputs.** The features of a dataset published last; *Retrieval model* and its settings; how many trials, by how many
tasks at once; the space, such as `{"retrieval.learning_rate": "log:1e-4..1e-2"}`, where empty is the model's own. A
name goes on with the search of that name, and empty with the one of equal inputs.

**What you get.** A run in MLflow with one below it for each trial; on it the best settings, the history and which
settings mattered. The last task's log names the file that `tandem train MODEL --config FILE` trains with. The test
window is not read. Which settings several tasks try depends on who is first; one task repeats itself exactly.

**When it fails.** Clear the task: trials that ended stay, and one that was being trained is tried again.

- `receive`: there are no features yet. Trigger `materialize_features` first.
- `plan_search`: a setting of the space is unknown or not legal, which the message names, or the search of this name is
  another.
- `run_trials`: MLflow or the database of searches was away. A trial whose training diverges fails alone and says so in
  MLflow.
- `report_search`: no trial could be trained; the message has the first reason.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import FEATURES
from dags.defaults import DAG_ARGS, handed_params, model_params, search_params


@dag(
    schedule=None,
    params={"model": model_params()["model"], **search_params(), **handed_params("features")},
    tags=["tandem", "models"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def search_models() -> None:
    """Wire the tasks."""
    given = handover.receive(FEATURES.name)
    config = given["config"]
    training_set = tasks.build_training_set(config, given["features"])
    search = tasks.plan_search(config, training_set)
    workers = handover.resolve_workers(search)
    trials = tasks.run_trials.partial(config=config, search=search).expand(worker=workers)
    trials >> tasks.report_search(config, search)


search_models()
