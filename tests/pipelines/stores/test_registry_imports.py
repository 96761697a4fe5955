"""Asking MLflow stays cheap: every task that does would pay for what is imported on the way."""

import subprocess
import sys

from pipelines.config import REPOSITORY

CODE = """
import sys
from pathlib import Path
from pipelines.errors import RegistryError
from pipelines.stores.registry import MlflowRegistry
try:
    MlflowRegistry("http://127.0.0.1:1", Path("unused")).by_alias("recommender", "champion")
except RegistryError:
    print([name for name in ("feast", "tensorflow", "great_expectations") if name in sys.modules])
"""


def test_a_request_loads_neither_feast_nor_tensorflow() -> None:
    """Feast registers a plugin for MLflow's request headers that imports all of Feast."""
    result = subprocess.run([sys.executable, "-c", CODE], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stderr
