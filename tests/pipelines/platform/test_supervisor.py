"""Start what is missing, keep what runs, end what is ours: with small servers in place of the real components."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config, PortsConfig
from pipelines.errors import PlatformError
from pipelines.platform import supervisor as module
from pipelines.platform.embedded import Component
from pipelines.platform.supervisor import Supervisor

SERVER = """
import http.server, sys
address = ("127.0.0.1", int(sys.argv[1]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
BROKEN = "import sys; print('no database'); sys.exit(3)"


def component(name: str, port: int, code: str = SERVER, **env: str) -> Component:
    command = (sys.executable, "-c", code, str(port))
    return Component(name, command, {**os.environ, **env}, port, "mlflow", health=f"http://127.0.0.1:{port}/")


@pytest.fixture
def platform(tmp_path: Path, free_port: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A supervisor whose components a test may change: `platform.wanted`."""
    config = Config(home=tmp_path / "home", ports=PortsConfig(airflow=free_port()))
    made = Supervisor(config)
    made.wanted = [component("mlflow", free_port()), component("serving", free_port())]  # type: ignore[attr-defined]  # the test's own
    monkeypatch.setattr(module, "components", lambda _: made.wanted)  # type: ignore[attr-defined]  # as above
    yield made
    made.stop()


def pids(platform: Supervisor) -> dict[str, int | None]:
    return {health.name: health.pid for health in platform.status()}


def test_up_starts_all_and_says_so(platform: Any) -> None:
    seen = []
    platform.up(lambda states: seen.append({health.name: health.state for health in states}))
    assert seen[-1] == {"mlflow": "healthy", "serving": "healthy"}
    assert {health.state for health in platform.status()} == {"healthy"}


def test_up_again_keeps_what_runs(platform: Any) -> None:
    platform.up()
    before = pids(platform)
    platform.up()
    assert pids(platform) == before


def test_up_again_starts_what_died(platform: Any) -> None:
    platform.up()
    before = pids(platform)
    os.kill(before["serving"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while platform.status()[1].state != "dead":
        assert time.monotonic() < deadline
    platform.up()
    after = pids(platform)
    assert after["mlflow"] == before["mlflow"]
    assert after["serving"] != before["serving"]


def test_up_again_restarts_what_has_other_settings(platform: Any, free_port: Any) -> None:
    platform.up()
    before = pids(platform)
    platform.wanted[1] = component("serving", free_port(), TANDEM_SERVING__ALIAS="challenger")
    platform.up()
    after = pids(platform)
    assert after["mlflow"] == before["mlflow"]
    assert after["serving"] != before["serving"]


def test_a_component_that_ends_is_named_with_its_last_lines(platform: Any, free_port: Any) -> None:
    platform.wanted[0] = component("mlflow", free_port(), BROKEN)
    with pytest.raises(PlatformError, match=r"mlflow ended while starting.*no database.*mlflow\.log"):
        platform.up()


def test_a_taken_port_starts_nothing(platform: Any) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", platform.wanted[1].port))
        listener.listen()
        with pytest.raises(PlatformError, match="is taken by process"):
            platform.up()
    assert {health.state for health in platform.status()} == {"stopped"}


def test_stop_ends_all_and_is_harmless_twice(platform: Any) -> None:
    platform.up()
    assert platform.stop() == 2
    assert platform.stop() == 0
    assert {health.state for health in platform.status()} == {"stopped"}


def test_stop_leaves_a_process_that_took_over_the_pid(platform: Any, tmp_path: Path) -> None:
    platform.up()
    file = tmp_path / "home" / "run" / "serving.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"started": record["started"] - 50}))
    assert platform.stop() == 1
    os.kill(record["pid"], signal.SIGKILL)  # raises if it was ended
    platform._children[0].wait()


def test_a_second_up_meanwhile_is_refused(platform: Any, tmp_path: Path) -> None:
    other = Supervisor(Config(home=tmp_path / "home"))
    with platform._locked(), pytest.raises(PlatformError, match="another"):
        other.stop()
