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


@contextmanager
def redis_server(folder: Path, *, appendfsync: str = "always") -> Iterator[str]:
    """Start Redis as docker/start_redis.sh configures it, without a password; yields its address."""
    port = free_port()
    command = [str(SERVER), "--port", str(port), "--dir", str(folder), "--bind", "127.0.0.1", "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", appendfsync]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "LC_ALL": "C"})
    try:
        client = redis.Redis(port=port)
        wait_until(lambda: _answers(client))
        client.close()
        yield f"redis://127.0.0.1:{port}/2"
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
