"""What an operator may rely on in every DAG. Airflow runs in a process of its own, with a home of its own."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines import entrypoints
from pipelines.config import REPOSITORY

Facts = dict[str, Any]
CHAIN = {
    "ingest_events": ["resolve_config", "read_partition", "validate_partition", "append_partition", "publish_events"],
    "drain_events": [
        "resolve_drain", "seal_events", "validate_partition", "append_partition", "finish_drain", "publish_events"
    ],
    "check_parity": ["resolve_parity", "check_parity"],
    "forget_user": ["resolve_forgetting", "forget_user", "check_forgotten", "publish_events"],
    "materialize_features": [
        "receive", "take_snapshot", "compute_features", "materialize_online", "publish_features"
    ],
    "backfill_features": ["resolve_day", "take_snapshot", "compute_features", "export_features"],
    "train_models": [
        "receive", "build_training_set", "train_retrieval", "build_ranking_set", "train_ranking", "evaluate_models",
        "publish_models",
    ],
    "search_models": ["receive", "build_training_set", "plan_search", "resolve_workers", "run_trials", "report_search"],
    "build_index": ["receive", "build_index", "assemble_release", "publish_release"],
    "promote_release": ["receive", "compare_release", "promote_release", "publish_champion"],
    "rollback_release": ["receive", "rollback_release", "publish_champion"],
    "recommender_pipeline": [
        "resolve_config", "read_partition", "validate_partition", "append_partition", "take_snapshot",
        "compute_features", "build_training_set", "train_retrieval", "build_ranking_set",
        "train_ranking", "evaluate_models", "build_index", "assemble_release", "compare_release", "promote_release",
        "record",
    ],
}  # fmt: skip
# What runs beside the chain: DAG -> task -> (what it follows, what waits for it).
BESIDE: dict[str, dict[str, tuple[str, str | None]]] = {
    "backfill_features": {"materialize_if_asked": ("compute_features", None)},
    "materialize_features": {"feature_catalogue": ("materialize_online", None)},
    "train_models": {
        "check_leakage": ("train_retrieval", "evaluate_models"),
        "check_ranking_leakage": ("train_ranking", "publish_models"),
    },
    "recommender_pipeline": {
        "materialize_online": ("compute_features", "promote_release"),
        "check_leakage": ("train_retrieval", "evaluate_models"),
        "check_ranking_leakage": ("train_ranking", "build_index"),
        "feature_catalogue": ("promote_release", None),
    },
}
DAG_IDS = sorted(CHAIN)
HANDED = {
    "materialize_features": "events",
    "train_models": "features",
    "build_index": "models",
    "promote_release": "release",
}


def read_dags(home: Path, hash_seed: str) -> Facts:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TANDEM_"))}
    env |= {"AIRFLOW_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": hash_seed}
    env |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.dag_facts"],
        cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return read_dags(tmp_path_factory.mktemp("airflow"), "1")


def test_every_file_imports(facts: Facts) -> None:
    assert facts["import_errors"] == {}


def test_the_dags_are_a_closed_list(facts: Facts) -> None:
    assert sorted(facts["dags"]) == DAG_IDS, "a new DAG belongs into CHAIN above and into docs"


def test_reading_a_dag_loads_nothing_heavy(facts: Facts) -> None:
    assert facts["heavy"] == []


def test_each_file_is_read_in_under_a_second(facts: Facts) -> None:
    assert max(facts["seconds"].values()) < 1.0, facts["seconds"]


def test_two_reads_give_the_same_serialized_dag(facts: Facts, tmp_path: Path) -> None:
    assert read_dags(tmp_path, "2")["hashes"] == facts["hashes"]


@pytest.mark.parametrize("dag_id", DAG_IDS)
class TestEachDag:
    def test_page_says_when_inputs_and_what_to_do_when_it_fails(self, facts: Facts, dag_id: str) -> None:
        page = facts["dags"][dag_id]["doc_md"]
        assert all(heading in page for heading in ("**When.**", "**Inputs.**", "**When it fails.**"))

    def test_has_tags_and_runs_once_at_a_time_without_catchup(self, facts: Facts, dag_id: str) -> None:
        dag = facts["dags"][dag_id]
        assert "tandem" in dag["tags"]
        assert len(dag["tags"]) == 2
        assert dag["catchup"] is False
        assert dag["max_active_runs"] == 1

    def test_every_parameter_explains_itself(self, facts: Facts, dag_id: str) -> None:
        params = facts["dags"][dag_id]["params"]
        assert params
        for name, param in params.items():
            assert param.get("title"), name
            assert param.get("type"), name
            assert len(param["about"]) > 20, name

    def test_every_task_has_owner_timeout_and_retry_policy(self, facts: Facts, dag_id: str) -> None:
        for name, task in facts["dags"][dag_id]["tasks"].items():
            assert task["owner"] == "tandem", name
            assert 0 < task["timeout"] <= 12 * 3600, name
            assert task["retry_policy"] == "ExceptionRetryPolicy", name
            fast = name == "receive" or name.startswith("resolve_")
            assert task["retries"] == 0 if fast else task["retries"] in (1, 2), name
            assert task["retry_delay"] >= 10, name

    def test_tasks_follow_each_other_by_name(self, facts: Facts, dag_id: str) -> None:
        tasks, chain = facts["dags"][dag_id]["tasks"], CHAIN[dag_id]
        beside = BESIDE.get(dag_id, {})
        assert sorted(tasks) == sorted([*chain, *beside])
        for earlier, later in pairwise(chain):
            assert later in tasks[earlier]["downstream"], f"{earlier} -> {later}"
        for task, (after, before) in beside.items():
            assert task in tasks[after]["downstream"], task
            assert before is None or before in tasks[task]["downstream"], task

    def test_assets_couple_it_to_the_dag_before_and_after(self, facts: Facts, dag_id: str) -> None:
        dag = facts["dags"][dag_id]
        assert dag["assets"] == ([HANDED[dag_id]] if dag_id in HANDED else [])
        outlets = [asset for task in dag["tasks"].values() for asset in task["outlets"]]
        published = [name.removeprefix("publish_") for name in CHAIN[dag_id] if name.startswith("publish_")]
        assert outlets == published


def test_trials_are_shared_by_mapped_tasks(facts: Facts) -> None:
    dag = facts["dags"]["search_models"]
    assert [name for name, task in dag["tasks"].items() if task["mapped_over"]] == ["run_trials"]
    assert dag["tasks"]["run_trials"]["mapped_over"] == ["worker"]
    assert {"model", "trials", "workers", "space", "study"} <= dag["params"].keys()


@pytest.mark.parametrize("dag_id", ["train_models", "recommender_pipeline"])
def test_models_and_loss_are_chosen_on_the_form(facts: Facts, dag_id: str) -> None:
    params = facts["dags"][dag_id]["params"]
    for name, title, known in (
        ("model", "Retrieval model", entrypoints.model_names()),
        ("ranker", "Ranking model", entrypoints.ranker_names()),
        ("ranking_loss", "Ranking loss", entrypoints.ranking_loss_names()),
    ):
        assert params[name]["title"] == title
        assert params[name]["enum"] == [None, *known]


def test_retry_policy_says_what_the_errors_say() -> None:
    """An error marked retryable is retried, any other of ours is not: the policy names classes by string."""
    from pipelines import errors

    text = (REPOSITORY / "dags" / "defaults.py").read_text()
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.TandemError)]
    for error in classes:
        if error is not errors.TandemError:
            assert (error.__name__ in text) == error.retryable, error.__name__


def test_every_step_is_a_task_and_a_command() -> None:
    from pipelines.cli.steps import STEPS

    tasks = {name for chain in CHAIN.values() for name in chain if not name.startswith("publish_")}
    # `tandem check-parity`, `forget-user`, `find-user`, `rollback`, `search`
    beside = {"check_parity", "forget_user", "check_forgotten", "rollback_release"}
    beside |= {"plan_search", "run_trials", "report_search"}
    resolved = {name for name in tasks if name.startswith("resolve_")} | {"receive", "record"}
    assert set(STEPS) == tasks - resolved - beside
    assert all(callable(getattr(entrypoints, step)) for step in STEPS)
