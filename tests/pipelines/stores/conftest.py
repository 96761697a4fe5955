"""Fixtures of the stores' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.stores.registry import MlflowRegistry
from pipelines.stores.runs import MlflowRuns
from tests.support.mlflow_server import mlflow_server
from tests.support.registering import write_bundle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server's address."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def registry(server: str, tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(server, tmp_path / "cache")


@pytest.fixture
def runs(server: str) -> MlflowRuns:
    return MlflowRuns(server)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")
