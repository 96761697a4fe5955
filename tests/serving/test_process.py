"""The process that operators start: its environment, its start, its failures."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pipelines.config import REPOSITORY
from tests.support.serving import SERVING_PYTHON, serving_process, wait_until

FORBIDDEN = (
    "tensorflow", "keras", "airflow", "great_expectations", "ibis", "deltalake", "duckdb",
    "pipelines.steps", "pipelines.entrypoints", "pipelines.data", "pipelines.models", "pipelines.sources",
)  # fmt: skip
needs_serving_environment = pytest.mark.skipif(
    not SERVING_PYTHON.exists(), reason=".venv-serving is not set up: run `make setup`"
)


def python(program, interpreter=SERVING_PYTHON, **environment):
    return subprocess.run(
        [interpreter, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_serving_environment
def test_serving_imports_none_of_the_training_stack(tmp_path):
    """Everything a running server imports: application, index, inputs, MLflow and Feast clients."""
    program = """
import json, sys
import serving.__main__, serving.app, uvicorn
from pipelines.index.scann_index import import_scann
from pipelines.stores.feature_store import FeatureStore
from pipelines.stores.registry import MlflowRegistry
import_scann()
MlflowRegistry("http://127.0.0.1:9", __import__("pathlib").Path("unused"))
try:
    FeatureStore(home=__import__("pathlib").Path(HOME), dataset="tiny").online_user("u1")
except Exception as error:
    print(type(error).__name__, error, file=sys.stderr)
print(json.dumps(sorted(sys.modules)))
"""
    result = python(program.replace("HOME", repr(str(tmp_path))))
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout.splitlines()[-1])
    found = [name for name in loaded if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN)]
    assert found == []
    assert "feast" in loaded
    assert "mlflow" in loaded


@needs_serving_environment
def test_it_starts_without_a_champion_and_without_mlflow(tmp_path):
    with serving_process(tmp_path, python=SERVING_PYTHON) as (client, process):
        assert client.get("/healthz").status_code == 200
        wait_until(lambda: "model registry cannot be asked" in client.get("/readyz").json()["reason"], seconds=40)
        assert client.get("/readyz").status_code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    assert "watching alias 'champion'" in (tmp_path / "serving.log").read_text()


@pytest.mark.parametrize("interpreter", [sys.executable])
def test_a_bad_setting_ends_it_with_one_line(interpreter):
    program = "import sys; from serving.__main__ import main; sys.exit(main())"
    result = python(program, interpreter, TANDEM_SERVING__PORT="none")
    assert result.returncode == 2
    assert "TANDEM_SERVING__PORT" in result.stderr
    assert result.stderr.count("\n") == 1
