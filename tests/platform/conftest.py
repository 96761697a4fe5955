"""One real platform for all tests of this folder: Airflow, MLflow and serving, on ports of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.platform import RunningPlatform, make_platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[RunningPlatform]:
    """A platform that is up until the tests end; `first_run` has run the pipeline in it."""
    made = make_platform(tmp_path_factory.mktemp("platform"), free_port)
    yield made
    made.tandem("stop")


@pytest.fixture(scope="session")
def first_run(platform: RunningPlatform) -> Any:
    """What `tandem run --json` printed for the first run, on the first month of events."""
    return platform.json("run", "--config", str(platform.config), timeout=900)
