"""Fixtures that every test may use."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

# Before Feast: it names a folder for Prometheus' multi-process mode, in which all registries of a process are one.
import prometheus_client  # noqa: F401
import pytest


@pytest.fixture(autouse=True)
def _no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own TANDEM_ settings must not decide a test; TANDEM_DATA is the one that may."""
    for name in list(os.environ):
        if name.startswith("TANDEM_") and name != "TANDEM_DATA":
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TANDEM_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TANDEM_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets; the test is skipped, and says so, without one."""
    folder = os.environ.get("TANDEM_DATA")
    if not folder:
        pytest.skip("TANDEM_DATA is not set: no real data to test with")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a function that finds ports nothing listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file, and those of the one platform, in one process, and begin with the longest."""
    first = ("tests/platform", "tests/test_compose_native.py")

    def group(item: pytest.Item) -> str:
        file = item.nodeid.partition("::")[0]
        return next((name for name in first if file.startswith(name)), file)

    groups = {item: group(item) for item in items}
    for item, name in groups.items():
        item.add_marker(pytest.mark.xdist_group(name.replace("/", ".")))
    items.sort(key=lambda item: first.index(groups[item]) if groups[item] in first else len(first))
