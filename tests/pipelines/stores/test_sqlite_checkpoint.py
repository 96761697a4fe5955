"""A write-ahead log is moved into its database beside the writer."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.stores.sqlite_checkpoint import CHECKPOINT_BYTES, Checkpoints


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "a database.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE notes (note TEXT)")
    connection.execute("INSERT INTO notes VALUES ('something')")
    connection.commit()
    yield connection
    connection.close()


def test_enough_bytes_begin_a_checkpoint(writer: sqlite3.Connection, tmp_path: Path) -> None:
    file = tmp_path / "a database.db"
    checkpoints = Checkpoints(str(file))
    checkpoints.wrote(CHECKPOINT_BYTES - 1)
    checkpoints.wait()
    assert b"something" not in file.read_bytes()
    checkpoints.wrote(1)
    checkpoints.wait()
    assert b"something" in file.read_bytes()


def test_a_transaction_that_is_open_is_left_alone(writer: sqlite3.Connection, tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path / "a database.db"))
    writer.execute("INSERT INTO notes VALUES ('unfinished')")
    checkpoints.wrote(CHECKPOINT_BYTES)
    checkpoints.wait()
    writer.rollback()
    assert writer.execute("SELECT note FROM notes").fetchall() == [("something",)]


def test_what_failed_is_raised_by_the_next_call_and_no_file_is_made(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path / "nowhere.db"))
    checkpoints.wrote(CHECKPOINT_BYTES)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        checkpoints.wait()
    checkpoints.wait()
    assert not (tmp_path / "nowhere.db").exists()
