"""Fixtures of the pipelines' tests."""

import pytest

from tests.support.leakage import Built


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A small training set in which nothing leaks; tests change copies of it."""
    return Built.at(tmp_path_factory.mktemp("clean"))
