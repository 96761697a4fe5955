"""Read the DAGs as Airflow's processor does, in a process of its own, and print what was found as JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

HEAVY = ("tensorflow", "keras", "feast", "mlflow", "great_expectations", "pandas", "numpy", "pyarrow", "duckdb", "ibis")


def main() -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    folder = Path(__file__).resolve().parents[2] / "dags"
    before = set(sys.modules)
    bag = DagBag(str(folder))
    heavy = [name for name in HEAVY if name in set(sys.modules) - before]
    facts = {
        "import_errors": {Path(file).name: text for file, text in bag.import_errors.items()},
        "heavy": heavy,
        "seconds": _parse_seconds(bag, folder),
        "dags": {dag_id: _dag(dag) for dag_id, dag in bag.dags.items()},
        "hashes": {dag_id: LazyDeserializedDAG.from_dag(dag).hash for dag_id, dag in bag.dags.items()},
    }
    sys.stdout.write(json.dumps(facts))


def _parse_seconds(bag: Any, folder: Path) -> dict[str, float]:
    seconds = {}
    for file in sorted(folder.glob("*.py")):
        begun = time.perf_counter()
        bag.process_file(str(file), only_if_updated=False)
        seconds[file.name] = time.perf_counter() - begun
    return seconds


def _dag(dag: Any) -> dict[str, Any]:
    return {
        "doc_md": dag.doc_md,
        "tags": sorted(dag.tags),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: {**param.schema, "about": param.description} for name, param in _params(dag)},
        "assets": sorted(asset.name for asset in getattr(_condition(dag), "objects", ())),
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _condition(dag: Any) -> Any:
    return getattr(dag.timetable, "asset_condition", None)


def _params(dag: Any) -> list[tuple[str, Any]]:
    return [(name, dag.params.get_param(name)) for name in dag.params]


def _task(task: Any) -> dict[str, Any]:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "retry_delay": task.retry_delay.total_seconds(),
        "retry_policy": type(task.retry_policy).__name__,
        "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
        "downstream": sorted(task.downstream_task_ids),
        "mapped_over": sorted(_mapped_over(task)),
        "outlets": sorted(asset.name for asset in task.outlets),
    }


def _mapped_over(task: Any) -> list[str]:
    """Return the arguments of which a mapped task gets one a time; none for a task that is not mapped."""
    return list(task.op_kwargs_expand_input.value) if task.is_mapped else []


if __name__ == "__main__":
    main()
