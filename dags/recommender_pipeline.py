"""The whole chain once, from raw rows to a served recommendation, as one run that you can follow.

**When.** When you trigger it; `make run` does. Never by itself. The scheduled DAGs do the same work in five parts that
trigger each other; this one publishes no asset, so that they do not do it a second time.

**Inputs.** The trigger form. With every field left as it is: the synthetic source.

**What you get.** Rows in the lake, features online, model versions and a release in MLflow, and a champion that serving
answers with. Running it again with equal inputs finds the results that are there and takes seconds.

**When it fails.** Open the failed task's log: its last line says what happened and what to do. Tasks of the same name
in the five single DAGs fail for the same reasons, and the pages of those DAGs list them. Then clear the failed task
with *downstream*: what was done is not done again.
"""

from airflow.sdk import dag

from dags import handover, tasks
from dags.assets import EVENTS, FEATURES, MODELS, RELEASE
from dags.defaults import DAG_ARGS, as_of_param, model_params, source_params


@dag(
    schedule=None,
    params={**source_params(), **model_params(), "as_of": as_of_param()},
    tags=["tandem", "pipeline"],
    doc_md=__doc__,
    **DAG_ARGS,
)
def recommender_pipeline() -> None:
    """Wire the tasks."""
    config = handover.resolve_config()["config"]
    raw = tasks.read_partition(config, tasks.PARTITION)
    validated = tasks.validate_partition(config, raw, tasks.RUN_CLOCK)
    ingested = tasks.append_partition(config, validated)
    snapshot = tasks.take_snapshot(config, tasks.AS_OF)
    ingested >> snapshot
    computed = tasks.compute_features(config, snapshot)
    online = tasks.materialize_online(config, computed)  # beside training, which reads the offline store
    training_set = tasks.build_training_set(config, computed)
    retrieval = tasks.train_retrieval(config, training_set)
    proof = tasks.check_leakage(config, training_set, retrieval)
    ranking_set = tasks.build_ranking_set(config, training_set, retrieval)
    ranking = tasks.train_ranking(config, ranking_set)
    evaluation = tasks.evaluate_models(config, training_set, retrieval, ranking)
    proof >> evaluation  # beside the ranking model; nothing that leaks is measured, indexed or released
    index = tasks.build_index(config, evaluation)
    tasks.check_ranking_leakage(config, ranking_set, ranking) >> index  # beside the evaluation
    release = tasks.assemble_release(config, evaluation, index)
    comparison = tasks.compare_release(config, release)
    promotion = tasks.promote_release(config, comparison)
    online >> promotion
    promotion >> tasks.feature_catalogue(config, computed)  # after it, so that the page names the new champion
    recorded = handover.record(
        {
            EVENTS.name: {"config": config, "ingested": ingested},
            FEATURES.name: {"config": config, "features": online},
            MODELS.name: {"config": config, "evaluation": evaluation},
            RELEASE.name: {"config": config, "release": release},
        }
    )
    promotion >> recorded


recommender_pipeline()
