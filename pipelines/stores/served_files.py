"""Served records in files: one JSON object a line, appended by one process, claimed and released by a drain.

    <folder>/<name>/<start>-<writer>.jsonl    open: its writer may append
    <folder>/<name>/<start>-<writer>.sealed   no one appends any more; a batch claims it
    <folder>/<name>/<start>-<writer>.drained  its records are safe elsewhere; kept a while for those who start
    <folder>/<name>/batch.json                the batch that is claimed and not released
    <folder>/<name>/drained.json              number of the last released batch, and until when all is drained

Writers stamp and append under a shared lock, a drain seals under the exclusive one: so a batch that ends at a moment
holds everything stamped before it, of every process, and nothing stamped after it. A line cut by a crash is the last
of its file, because no process appends to the file of another; it was never acknowledged, and is passed over. A record
that is erased becomes a blank line of the same length, so whoever reads the file goes on where they were.
"""

import fcntl
import heapq
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import orjson

from pipelines.contracts import EventBatch
from pipelines.stores.served import Belongs, Record, Stamp, chunked, stamp_event, utc_now
from pipelines.stores.served_file_tail import FileTail
from pipelines.stores.served_lines import (
    DRAINED,
    OPEN,
    SEALED,
    SUFFIXES,
    lines_that_belong,
    moment_after,
    stamped_lines,
)

MAX_FILE_BYTES = 64 * 2**20
MAX_FILE_AGE = timedelta(hours=1)
CHUNK_RECORDS = 20_000
BATCH, STATE = "batch.json", "drained.json"


class ServedFiles:
    """A `ServedLog` on a disk. Every process that appends has an instance of its own.

    Args:
        folder: below which the logs are; created with the first record.
        stamp: applied to each record when it is appended.
        durable: whether records are on disk, not only in the operating system's cache, when `append` returns.
    """

    def __init__(self, folder: Path, *, stamp: Stamp = stamp_event, durable: bool = True) -> None:
        self._folder = folder
        self._stamp = stamp
        self._durable = durable
        self._writer = uuid.uuid4().hex[:12]
        self._files: dict[str, tuple[Path, BinaryIO, datetime]] = {}
        self._last = datetime.min.replace(tzinfo=UTC)

    def append(self, name: str, records: Sequence[Record]) -> list[Record]:
        """Stamp and append records with one write and one fsync.

        Raises:
            OSError: nothing was kept.
        """
        (self._folder / name).mkdir(parents=True, exist_ok=True)
        with self._committing():
            self._last = now = max(utc_now(), self._last)
            written = [self._stamp(record, now) for record in records]
            file = self._current(name, now)
            start = file.tell()
            try:
                file.write(b"".join(orjson.dumps(record) + b"\n" for record in written))
                file.flush()
                if self._durable:
                    os.fsync(file.fileno())
            except OSError:
                # Refused records must not come back as if they had been accepted; the next go to another file.
                os.ftruncate(file.fileno(), start)
                self._close(name)
                raise
        return written

    def close(self) -> None:
        """Close the files this process appends to."""
        for name in list(self._files):
            self._close(name)

    def tail(self) -> FileTail:
        """Return a reader of what the others append; this instance's own files are read by `recent` alone."""
        return FileTail(self._folder, own=self._writer)

    def newest(self, name: str, limit: int) -> list[Record]:
        """Return up to `limit` of the newest records of a log, oldest first."""
        return [record for _, record in FileTail(self._folder, only=name).recent(limit)]

    def names(self) -> list[str]:
        """Return the names of the logs there are."""
        return sorted(path.name for path in self._folder.glob("*") if path.is_dir())

    def log_id(self) -> str:
        """Return the identity of the folder, made with its first batch."""
        path = self._folder / "log-id"
        if not path.exists():
            _write(path, uuid.uuid4().hex[:12].encode())
        return path.read_text()

    def waiting(self, name: str) -> bool:
        """Return whether a log has files that are not drained."""
        folder = self._folder / name
        return any(path.suffix in (OPEN, SEALED) or path.name == BATCH for path in folder.glob("*"))

    def claim(self, name: str, *, after: int) -> EventBatch | None:
        """Return the batch that waits, else seal all files and claim them; None when there is no file."""
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with self._sealing():
            waiting = folder / BATCH
            if waiting.exists():
                return EventBatch.model_validate_json(waiting.read_bytes())
            for path in folder.glob(f"*{OPEN}"):
                path.rename(path.with_suffix(SEALED))
            parts = sorted(path.stem for path in folder.glob(f"*{SEALED}"))
            until = max([utc_now(), *(moment_after(folder / f"{part}{SEALED}") for part in parts)])
            number = max(after, self._drained(name)[0])
            if not parts:
                self._write_drained(name, number, until)
                return None
            batch = EventBatch(log_id=self.log_id(), name=name, number=number + 1, until=until, parts=tuple(parts))
            _write(waiting, batch.model_dump_json().encode())
            return batch

    def read(self, batch: EventBatch) -> Iterator[list[Record]]:
        """Yield a claimed batch's records in chunks, in order of `ingested_at`; what is no JSON comes as its text."""
        folder = self._folder / batch.name
        with ExitStack() as stack:
            # A release that was killed halfway has renamed some of them already.
            paths = [
                p if (p := folder / f"{part}{SEALED}").exists() else folder / f"{part}{DRAINED}" for part in batch.parts
            ]
            parts = [stack.enter_context(path.open("rb")) for path in paths]
            merged = heapq.merge(*map(stamped_lines, parts), key=lambda pair: pair[0])
            yield from chunked((record for _, record in merged), CHUNK_RECORDS)

    def release(self, batch: EventBatch, *, keep: timedelta) -> None:
        """Mark a batch's files as drained, and delete those drained longer than `keep` ago."""
        folder = self._folder / batch.name
        waiting = folder / BATCH
        with self._sealing():
            if not waiting.exists() or EventBatch.model_validate_json(waiting.read_bytes()) != batch:
                return
            for part in batch.parts:
                sealed = folder / f"{part}{SEALED}"
                if sealed.exists():
                    os.utime(sealed)  # the time from which it is kept
                    sealed.rename(sealed.with_suffix(DRAINED))
            self._write_drained(batch.name, batch.number, batch.until)
            waiting.unlink()
        self.prune(batch.name, older_than=keep, suffix=DRAINED)

    def complete_until(self, name: str) -> datetime | None:
        """Return the moment before which everything is drained."""
        return self._drained(name)[1]

    def prune(self, name: str, *, older_than: timedelta, max_bytes: int | None = None, suffix: str = OPEN) -> None:
        """Delete files last written longer ago than `older_than`, and the oldest beyond `max_bytes` in all."""
        deadline, total = (utc_now() - older_than).timestamp(), 0
        for path in sorted((self._folder / name).glob(f"*{suffix}"), reverse=True):
            state = path.stat()
            total += state.st_size
            if state.st_mtime < deadline or (max_bytes is not None and total > max_bytes):
                path.unlink()

    def count(self, name: str, belongs: Belongs) -> int:
        """Return how many records of a log belong."""
        return sum(1 for path in self._files_of(name) for _ in lines_that_belong(path, belongs))

    def erase(self, name: str, belongs: Belongs) -> None:
        """Overwrite the lines that belong with blanks; nobody appends meanwhile."""
        paths = self._files_of(name)
        if not paths:
            return
        with self._sealing():
            for path in self._files_of(name):
                lines = list(lines_that_belong(path, belongs))
                with path.open("r+b", buffering=0) as file:
                    for start, length in lines:
                        os.pwrite(file.fileno(), b" " * length, start)
                    os.fsync(file.fileno())

    def _files_of(self, name: str) -> list[Path]:
        return sorted(path for path in (self._folder / name).glob("*") if path.suffix in SUFFIXES)

    def _drained(self, name: str) -> tuple[int, datetime | None]:
        path = self._folder / name / STATE
        if not path.exists():
            return 0, None
        found = orjson.loads(path.read_bytes())
        return found["number"], datetime.fromisoformat(found["until"])

    def _write_drained(self, name: str, number: int, until: datetime) -> None:
        content = {"number": number, "until": until.isoformat(timespec="microseconds")}
        _write(self._folder / name / STATE, orjson.dumps(content))

    def _current(self, name: str, now: datetime) -> BinaryIO:
        if name in self._files:
            path, file, opened = self._files[name]
            if file.tell() < MAX_FILE_BYTES and now - opened < MAX_FILE_AGE and path.exists():
                return file
            self._close(name)
        path = self._folder / name / f"{now:%Y%m%dT%H%M%S%f}-{self._writer}{OPEN}"
        file = path.open("xb")
        if self._durable:
            sync_folder(path.parent)
        self._files[name] = path, file, now
        return file

    def _close(self, name: str) -> None:
        if name in self._files:
            self._files.pop(name)[1].close()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Hold off a drain, not the other writers. The gate keeps writers who overlap from starving the drain."""
        with ExitStack() as stack:
            with _lock(self._folder / ".gate", fcntl.LOCK_EX):
                stack.enter_context(_lock(self._folder / ".commit", fcntl.LOCK_SH))
            yield

    @contextmanager
    def _sealing(self) -> Iterator[None]:
        with _lock(self._folder / ".gate", fcntl.LOCK_EX), _lock(self._folder / ".commit", fcntl.LOCK_EX):
            yield


def sync_folder(folder: Path) -> None:
    """Make a file's name durable too, not only its bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """Replace a small file by one atomic, durable act."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    """Hold a lock that a killed process gives back by itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
