"""Feast is imported without the instrumentation that takes most of the time."""

import subprocess
import sys

import pytest

from pipelines.config import REPOSITORY

PROBE = "import feast.data_source as module; print('typeguard' in module.DataSource.__init__.__code__.co_names)"


@pytest.mark.parametrize(("before", "instrumented"), [("", "True"), ("import pipelines.stores; ", "False")])
def test_feast_is_not_instrumented_when_our_stores_come_first(before: str, instrumented: str) -> None:
    command = [sys.executable, "-c", before + PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == instrumented
