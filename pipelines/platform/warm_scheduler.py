"""Airflow's scheduler, with what most tasks import imported already.

`LocalExecutor` forks a process for every task, so a library that is there before the fork costs a task nothing;
TensorFlow alone is six seconds in each of two tasks. Only other people's libraries: ours are read anew by each task, so
an edit needs no restart. Imported, not used: no connection or device of theirs is open when Airflow forks.
"""

import importlib
import os
import runpy
import sys

LIBRARIES = (
    "pyarrow.parquet",
    "pandas",
    "duckdb",
    "ibis",
    "deltalake",
    "pipelines.stores",  # before Feast: see there
    "feast.feature_store",
    "mlflow",
    "matplotlib.figure",
    "onnxruntime",
    "tensorflow",
    "keras",
)


def main() -> None:
    """Import the libraries, then become `airflow scheduler` with the arguments given."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
