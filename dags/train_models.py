"""Train, evaluate and register the retrieval and the ranking model.

**When.** After `materialize_features` (asset `features`), and whenever you trigger it. It triggers `build_index`
through the asset `models`.

**Inputs.** The feature set that the triggering event names. By hand: the features of a dataset published last, and
single settings, such as `{"retrieval.epochs": 10}`. *Retrieval model*, *Ranking model* and *Ranking loss*
choose from `tandem models`.

**What you get.** Two model versions in MLflow with metrics, plots, signature and the training set's fingerprint, and an
evaluation on the last part of time beside popularity and the champion. Equal inputs give the versions that are there.

**When it fails.**

- `receive`: there are no features yet. Trigger `materialize_features` first.
- `build_training_set`: no label lies before *as of*, or a split is empty. Ingest more, or change `split` in Settings.
- `check_leakage`: a training row, or the model's vocabularies, knew the future. The message names check, feature and an
  example row; the report is on the retrieval model's run in MLflow. Nothing is evaluated or released until it is clean.
- `check_ranking_leakage`: the same of the ranking model's pairs, vocabularies and normalizers.
- `train_retrieval`, `train_ranking`: learning diverged or ran out of memory. Lower `learning_rate` or `batch_size`.
- MLflow does not answer: `tandem status` says whether it runs and where its log is; `tandem up` starts it again.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import FEATURES, MODELS
from dags.defaults import DAG_ARGS, handed_params, model_params


@dag(
    schedule=[FEATURES],
    params={**model_params(), **handed_params("features")},
    tags=["tandem", "models"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def train_models() -> None:
    """Wire the tasks."""
    given = handover.receive(FEATURES.name)
    config = given["config"]
    training_set = tasks.build_training_set(config, given["features"])
    retrieval = tasks.train_retrieval(config, training_set)
    proof = tasks.check_leakage(config, training_set, retrieval)
    ranking_set = tasks.build_ranking_set(config, training_set, retrieval)
    ranking = tasks.train_ranking(config, ranking_set)
    evaluation = tasks.evaluate_models(config, training_set, retrieval, ranking)
    proof >> evaluation  # beside the ranking model; nothing that leaks is measured, indexed or released
    published = handover.publish(MODELS, {"config": config, "evaluation": evaluation})
    tasks.check_ranking_leakage(config, ranking_set, ranking) >> published  # beside the evaluation


train_models()
