"""The tasks, defined once: the pipeline and the single DAGs wire the same ones.

Each is one call of an entrypoint. What it takes and returns is a reference, small JSON; the entrypoint is imported
inside the task, so that reading a DAG file costs nothing.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from dags.pages import say_where

log = logging.getLogger(__name__)

Json = dict[str, Any]
RUN_CLOCK = "{{ dag_run.run_after | ts }}"  # the run's own moment: the same on every retry
AS_OF = "{{ params.as_of or '' }}"
PARTITION = "{{ params.partition }}"
SINCE = "{{ params.since or '' }}"


@task(execution_timeout=timedelta(hours=6))
def forget_user(config: str) -> Json:
    """Remove the user of this run's parameters everywhere; the report says what was removed where."""
    from pipelines import entrypoints

    report = entrypoints.forget_user(config, get_current_context()["params"]["user_id"])
    say_where(log, f"{report['uri']}/report.html")
    for removed in report["removed"]:
        log.info("%s: %d %s removed", removed["place"], removed["num"], removed["unit"])
    return report


@task(execution_timeout=timedelta(hours=2))
def check_forgotten(config: str, forgetting: Json) -> Json:
    """Look for the user everywhere; returns the lake as it is now, as an ingestion of nothing."""
    from pipelines import entrypoints

    search = entrypoints.check_forgotten(config, get_current_context()["params"]["user_id"])
    for remainder in search["remains"]:
        log.warning("%s (%d): %s", remainder["place"], remainder["num"], remainder["remedy"])
    partition = f"forgotten:{forgetting['user'][:16]}"
    return {
        "dataset": forgetting["dataset"],
        "partition": partition,
        "versions": forgetting["versions"],
        "num_appended": {},
    }


@task(execution_timeout=timedelta(hours=1))
def check_parity(config: str, as_of: str) -> Json:
    """Compute the features serving used again, as of each request; fail when too many differ."""
    from pipelines import entrypoints

    report = entrypoints.check_parity(config, as_of)
    log.info("%d requests compared, report: %s/report.html", report["num_compared"], report["uri"])
    return report


@task(multiple_outputs=True, execution_timeout=timedelta(minutes=30))
def seal_events(config: str) -> Json:
    """Claim the served events that wait, and stage them; claimed ones stay claimed until they are in the lake."""
    from pipelines import entrypoints

    drain = entrypoints.seal_events(config)
    if drain["batch"] is None:
        raise AirflowSkipException("no served event waits")
    return {"drain": drain, "raw": drain["raw"], "until": drain["batch"]["until"]}


@task(execution_timeout=timedelta(hours=2))
def read_partition(config: str, partition: str) -> Json:
    """Read one raw partition from the source and stage it unchanged."""
    from pipelines import entrypoints

    return entrypoints.read_partition(config, partition)


@task(execution_timeout=timedelta(hours=1))
def validate_partition(config: str, raw: Json, as_of: str) -> Json:
    """Check the partition against its contract; set rows that break a row rule aside."""
    from pipelines import entrypoints

    try:
        validated = entrypoints.validate_partition(config, raw, as_of)
    except Exception as error:
        say_where(log, str(error))
        raise
    say_where(log, validated["docs_uri"])
    for change in validated["drift"]:
        log.warning("accepted: %s", change)
    return validated


@task(execution_timeout=timedelta(hours=1))
def append_partition(config: str, validated: Json) -> Json:
    """Append accepted and quarantined rows to the lake, exactly once."""
    from pipelines import entrypoints

    return entrypoints.append_partition(config, validated)


@task(execution_timeout=timedelta(minutes=30))
def finish_drain(config: str, drain: Json, ingested: Json) -> Json:
    """Give up the log's copy of what is in the lake now."""
    from pipelines import entrypoints

    return entrypoints.finish_drain(config, drain, ingested)


@task
def take_snapshot(config: str, as_of: str) -> Json:
    """Fix the moment and the lake versions that everything after reads."""
    from pipelines import entrypoints

    return entrypoints.take_snapshot(config, as_of)


@task(execution_timeout=timedelta(hours=2))
def compute_features(config: str, snapshot: Json) -> Json:
    """Compute the feature tables of the snapshot."""
    from pipelines import entrypoints

    return entrypoints.compute_features(config, snapshot)


@task(execution_timeout=timedelta(hours=2))
def materialize_online(config: str, features: Json, since: str = "") -> Json:
    """Bring a window of the features into the online store; audit what is there, a line a view in the log."""
    from pipelines import entrypoints

    return entrypoints.materialize_online(config, features, since)


@task(execution_timeout=timedelta(minutes=30))
def feature_catalogue(config: str, features: Json) -> Json:
    """Write the page of all features: meaning, owner, freshness, distribution and readers of each."""
    from pipelines import entrypoints

    catalogue = entrypoints.feature_catalogue(config, features)
    say_where(log, catalogue["page"])
    return catalogue


@task(execution_timeout=timedelta(hours=1))
def export_features(config: str, features: Json, start: str, end: str) -> Json:
    """Write the day's feature rows as files: the same rows give the same files."""
    from pipelines import entrypoints

    exported = entrypoints.export_features(config, features, start, end)
    log.info("%s: digest %s, rows %s", exported["uri"], exported["digest"][:12], exported["num_rows"])
    return exported


@task(execution_timeout=timedelta(hours=2))
def materialize_if_asked(config: str, features: Json, since: str) -> Json:
    """Bring the day's features online where the run asks for it; newer values there stay."""
    from pipelines import entrypoints

    if not get_current_context()["params"]["online"]:
        raise AirflowSkipException("the parameter Online is off, so the online store stays as it is")
    return entrypoints.materialize_online(config, features, since)


@task(execution_timeout=timedelta(hours=2))
def build_training_set(config: str, features: Json) -> Json:
    """Join each label to what was known before it."""
    from pipelines import entrypoints

    return entrypoints.build_training_set(config, features)


@task(retries=1, execution_timeout=timedelta(hours=12))
def train_retrieval(config: str, training_set: Json) -> Json:
    """Train the retrieval model that the configuration names and register a version."""
    from pipelines import entrypoints

    return entrypoints.train_retrieval(config, training_set)


@task(execution_timeout=timedelta(minutes=10))
def plan_search(config: str, training_set: Json) -> Json:
    """Begin the search of this run's parameters, or find the one that was begun."""
    from pipelines import entrypoints

    params = get_current_context()["params"]
    search = entrypoints.plan_search(config, training_set, params["trials"], params["study"], params["space"])
    log.info("search %s: %d trials, by %s", search["study"], search["num_trials"], search["metric"])
    return search


@task(retries=2, execution_timeout=timedelta(hours=12))
def run_trials(config: str, search: Json, worker: int) -> int:
    """Work on the search beside the other workers until no trial is left; returns how many this one did."""
    from pipelines import entrypoints

    def say(trial: Json) -> None:
        about = (trial[key] for key in ("trial", "state", "value", "error"))
        log.info("worker %d, trial %d: %s %s %s", worker, *about)

    return entrypoints.run_trials(config, search, say)


@task(execution_timeout=timedelta(minutes=30))
def report_search(config: str, search: Json) -> Json:
    """Say which settings were best, and finish the search's run in MLflow."""
    from pipelines import entrypoints

    result = entrypoints.report_search(config, search)
    log.info("best %s: %.4f with %s", result["metric"], result["value"], result["settings"])
    log.info("train it: tandem train %s --config %s", result["model"], result["config"])
    return result


@task(execution_timeout=timedelta(hours=2))
def check_leakage(config: str, training_set: Json, retrieval: Json) -> Json:
    """Prove that the training set and the model made from it knew only the past."""
    from pipelines import entrypoints

    try:
        report = entrypoints.check_leakage(config, training_set, retrieval)
    except Exception as error:
        say_where(log, str(error))
        raise
    say_where(log, f"{report['uri']}/report.html")
    return report


@task(execution_timeout=timedelta(hours=2))
def build_ranking_set(config: str, training_set: Json, retrieval: Json) -> Json:
    """Retrieve candidates for past queries and join their features."""
    from pipelines import entrypoints

    return entrypoints.build_ranking_set(config, training_set, retrieval)


@task(retries=1, execution_timeout=timedelta(hours=12))
def train_ranking(config: str, ranking_set: Json) -> Json:
    """Train and calibrate the ranking model and register a version."""
    from pipelines import entrypoints

    return entrypoints.train_ranking(config, ranking_set)


@task(execution_timeout=timedelta(hours=2))
def check_ranking_leakage(config: str, ranking_set: Json, ranking: Json) -> Json:
    """Prove that the ranking model's pairs, vocabularies and normalizers knew only the training window."""
    from pipelines import entrypoints

    try:
        report = entrypoints.check_ranking_leakage(config, ranking_set, ranking)
    except Exception as error:
        say_where(log, str(error))
        raise
    say_where(log, f"{report['uri']}/report.html")
    return report


@task(execution_timeout=timedelta(hours=2))
def evaluate_models(config: str, training_set: Json, retrieval: Json, ranking: Json) -> Json:
    """Measure both models on the temporal holdout beside their baselines."""
    from pipelines import entrypoints

    evaluation = entrypoints.evaluate_models(config, training_set, retrieval, ranking)
    say_where(log, f"{evaluation['uri']}/report.html")
    return evaluation


@task(execution_timeout=timedelta(hours=2))
def build_index(config: str, evaluation: Json) -> Json:
    """Embed and index the item corpus; fail below the recall floor."""
    from pipelines import entrypoints

    return entrypoints.build_index(config, evaluation)


@task(execution_timeout=timedelta(minutes=30))
def assemble_release(config: str, evaluation: Json, index: Json) -> Json:
    """Bind models, index and item features into one registered release."""
    from pipelines import entrypoints

    return entrypoints.assemble_release(config, evaluation, index)


@task
def compare_release(config: str, release: Json) -> Json:
    """Hold the release against champion and popularity."""
    from pipelines import entrypoints

    return entrypoints.compare_release(config, release)


@task(execution_timeout=timedelta(minutes=20))
def promote_release(config: str, comparison: Json) -> Json:
    """Make the release champion, wait until serving answers from it, smoke-test it."""
    from pipelines import entrypoints

    promotion = entrypoints.promote_release(config, comparison, **_asked())
    log.info("%s", promotion["reason"])
    return promotion


@task(execution_timeout=timedelta(minutes=20))
def rollback_release(config: str) -> Json:
    """Make the release before champion again, or the one this run names, and see it served."""
    from pipelines import entrypoints

    params = get_current_context()["params"]
    move = entrypoints.rollback_release(config, params["to"] or "", params["reason"] or "", **_asked())
    log.info("release %s is champion; before, it was %s", move["version"], move["previous"] or "none")
    return move


def _asked() -> dict[str, str]:
    """Return who asked for this run, and the run: the same on every retry."""
    run = get_current_context()["dag_run"]
    return {"by": run.triggering_user_name or f"Airflow ({run.run_type})", "run": f"{run.dag_id} {run.run_id}"}
