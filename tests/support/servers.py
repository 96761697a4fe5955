"""Real servers for tests: a Redis of our own, a database in the PostgreSQL that is there."""

import os
import shutil
import subprocess
import time
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
