"""A Redis server of a test's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.mlflow_server import free_port
from tests.support.serving import wait_until

SERVER = shutil.which("redis-server")


class RedisServer:
    """Redis as docker/start_redis.sh configures it, without a password, on a folder and a port of its own.

    Attributes:
        address: URL of the database that holds events.
    """

    def __init__(self, folder: Path, *, appendfsync: str = "always") -> None:
        self._log = folder / "redis.log"
        self._port = free_port()
        self._command = [str(SERVER), "--port", str(self._port), "--dir", str(folder), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", appendfsync]
        self.address = f"redis://127.0.0.1:{self._port}/2"

    def start(self) -> None:
        """Start it and wait until it answers, with what the folder holds."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env={**os.environ, "LC_ALL": "C"})
        client = redis.Redis(port=self._port)
        wait_until(lambda: _answers(client))
        client.close()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def killable_redis(folder: Path, *, appendfsync: str = "always") -> Iterator[RedisServer]:
    """Start a Redis that a test may kill and start again."""
    server = RedisServer(folder, appendfsync=appendfsync)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start a Redis; yields its address."""
    with killable_redis(folder) as server:
        yield server.address


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # or it is still reading its log: BusyLoadingError is one
        return False
