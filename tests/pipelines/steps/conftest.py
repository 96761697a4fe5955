"""Fixtures of the steps' tests."""

import pytest

from tests.support.trained_models import World, train_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The training steps, run once on tiny rows."""
    return train_world(tmp_path_factory.mktemp("world"))
