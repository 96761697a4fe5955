"""Moves a write-ahead log into its SQLite database beside the writer.

SQLite does so within a commit, which then waits until the disk has everything.
https://www.sqlite.org/wal.html#ckpt
"""

import contextlib
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

CHECKPOINT_BYTES = 16 * 2**20


class Checkpoints:
    """Checkpoints of one database in a thread and connection of their own; readers and the writer go on.

    Args:
        path: the database file.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None
        self._num_bytes = 0

    def wrote(self, num_bytes: int) -> None:
        """Count what was committed, and begin a checkpoint when it is enough and none is running.

        Raises:
            sqlite3.Error: the last checkpoint failed; what it should have moved is still in the log.
        """
        self._num_bytes += num_bytes
        if self._num_bytes < CHECKPOINT_BYTES or (self._running and not self._running.done()):
            return
        self.wait()
        self._num_bytes = 0
        self._running = self._thread.submit(self._checkpoint)

    def wait(self) -> None:
        """Wait until none is running.

        Raises:
            sqlite3.Error: the last checkpoint failed; what it should have moved is still in the log.
        """
        running, self._running = self._running, None
        if running:
            running.result()

    def _checkpoint(self) -> None:
        # Opened only where it is: a database that was deleted meanwhile is not made anew.
        with contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
