"""What serving loads needs nothing that its environment lacks, though Feast finds it by class paths in a file."""

import re
import subprocess
import sys

from pipelines.config import REPOSITORY

MISSING = ("airflow", "deltalake", "duckdb", "great_expectations", "ibis", "keras", "tensorflow")
CODE = """
import importlib, sys
missing, modules = (words.split() for words in sys.argv[1:])
sys.modules.update(dict.fromkeys(missing))  # importing one of them fails
for module in modules:
    importlib.import_module(module)
"""


def test_stores_are_loaded_without_the_packages_of_the_platform() -> None:
    declared = "".join(file.read_text() for file in (REPOSITORY / "feature_repo").glob("feature_store*.yaml"))
    stores = set(re.findall(r"type: (pipelines[\w.]+)\.\w+", declared)) - {"pipelines.stores.spark_offline_store"}
    assert "pipelines.stores.asof_offline_store" in stores
    loaded = ["serving.app", "pipelines.stores.feature_store", "pipelines.stores.materialization", *sorted(stores)]
    command = [sys.executable, "-c", CODE, " ".join(MISSING), " ".join(loaded)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
