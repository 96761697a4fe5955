"""Servers that the tests of the HTTP surface share."""

import pytest

from tests.support.serving_app import make_parts, ready


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A server that all tests share which leave no trace."""
    with ready(make_parts(tmp_path_factory.mktemp("shared"))) as client:
        yield client


@pytest.fixture
def parts(tmp_path):
    return make_parts(tmp_path)


@pytest.fixture
def own(parts):
    """A server of the test's own."""
    with ready(parts) as client:
        yield client
