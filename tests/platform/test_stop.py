"""`tandem stop` ends all of the platform and only that. The last file of this folder: the others need it running."""

import socket
import subprocess
import sys
from typing import Any

import psutil
import pytest

from tests.support.platform import RunningPlatform, component_pids

pytestmark = [pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_stop_ends_all_of_it_and_only_it(platform: RunningPlatform, first_run: Any) -> None:
    ours = [psutil.Process(pid) for pid in component_pids(platform).values()]
    family = [*ours, *(child for process in ours for child in process.children(recursive=True))]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as neighbour:
        assert platform.tandem("stop", timeout=60).returncode == 0
        assert neighbour.poll() is None
        neighbour.kill()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for port in platform.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert platform.json("status")["running"] is False
