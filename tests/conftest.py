"""Fixtures that every test may use."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before Feast: it names a folder for Prometheus' multi-process mode, in which all registries of a process are one.
import prometheus_client  # noqa: F401 - see above
import pytest

LONGEST = ("tests/platform", "tests/test_compose_native.py")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: LONGEST.index(group) if (group := scope(item.nodeid)) in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)  # a run may be without pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a file, and those of the one platform, in one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    return ByScope(config, log)


def scope(nodeid: str) -> str:
    """Return what a test shares its process with."""
    file = nodeid.partition("::")[0]
    return next((group for group in LONGEST if file.startswith(group)), file)
