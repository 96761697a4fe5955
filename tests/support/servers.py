"""Real servers for tests: a Redis and an object store of our own, a database in the PostgreSQL that is there."""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.compose import database_user, free_port, psql


def no_redis() -> str | None:
    """Return why there is no Redis to test with, or None."""
    return None if shutil.which("redis-server") else "redis-server is not installed"


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Start a Redis that keeps nothing on disk and yield its port."""
    import redis

    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        while process.poll() is None:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.01)
        if process.poll() is not None:
            raise RuntimeError(f"redis-server on port {port} ended with {process.returncode}")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def no_postgres() -> str | None:
    """Return why there is no PostgreSQL to test with, or None."""
    import psycopg

    try:
        with psycopg.connect(_address("postgres"), connect_timeout=3) as connection:
            allowed = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
            row = connection.execute(allowed).fetchone()
    except psycopg.Error as error:
        return f"no PostgreSQL on 127.0.0.1:5432 lets {database_user()} in: {error}"
    return None if row and row[0] else f"{database_user()} may not create databases in PostgreSQL"


@contextmanager
def postgres_database() -> Iterator[str]:
    """Create a database and yield its address."""
    name = f"tandem_test_{os.getpid()}"
    psql(f'CREATE DATABASE "{name}"')
    try:
        yield _address(name)
    finally:
        psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def _address(database: str) -> str:
    return f"postgresql://{database_user()}@127.0.0.1:5432/{database}"


def no_s3() -> str | None:
    """Return why there is no object store to test with, or None."""
    return None if _weed().exists() else f"weed is not in {_weed().parent}"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start SeaweedFS with a bucket `lake` and yield the options that Delta reaches it by."""
    import boto3

    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    names = (*names, "s3.port", "s3.port.grpc")
    ports = {name: free_port() for name in names}
    command = [_weed(), "server", f"-dir={folder}", "-ip=127.0.0.1", "-master.telemetry=false", "-s3"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=0", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    address = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        while not _answers(f"{address}/healthz"):
            if process.poll() is not None:
                raise RuntimeError(f"weed ended with {process.returncode}: {(folder / 'weed.log').read_text()[-2000:]}")
            time.sleep(0.1)
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="lake")
        yield {key.upper(): value for key, value in keys.items()} | {
            "AWS_ENDPOINT_URL": address,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        process.kill()  # Nothing is to be kept, and asked to end it would take ten seconds.
        process.wait()


def _weed() -> Path:
    return Path(sys.executable).parent / "weed"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
