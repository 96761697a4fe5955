"""The append-only event log: an event is acknowledged after it is on disk, and not before.

One JSON object a line, in files `<UTC day>/<start>-<process>.jsonl`. A process never appends to a file of
another, so a line cut by a crash is always the last of its file, was never acknowledged, and is skipped.
"""

import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from pipelines.errors import PlatformError

MAX_FILE_BYTES = 64 * 2**20
MAX_WAITING = 10_000
MAX_REMEMBERED_IDS = 200_000
_logger = logging.getLogger(__name__)

Record = dict[str, Any]
_Batch = tuple[list[Record], "Future[list[Record]]"]


class EventLog:
    """Appends batches durably. One thread writes; batches that wait together share one fsync (group commit)."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`; it is created with the first event."""
        self._folder = folder
        self._queue: queue.Queue[_Batch | None] = queue.Queue(MAX_WAITING)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._file: BinaryIO | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def append(self, records: Sequence[Record]) -> "Future[list[Record]]":
        """Queue records, each with an `event_id`; the future gives those that were new, once they are on disk.

        The future raises PlatformError when the disk refused; then none of the batch was kept.

        Raises:
            PlatformError: too many batches wait, or the log is closed.
        """
        if self._closed:
            raise PlatformError("the event log is closed because the server is stopping; send the events again")
        done: Future[list[Record]] = Future()
        try:
            self._queue.put_nowait((list(records), done))
        except queue.Full as error:
            raise PlatformError(f"{MAX_WAITING} batches of events wait for the disk; send them again later") from error
        return done

    def close(self) -> None:
        """Write what is queued and stop."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout=30)
        self._close_file()

    def replay(self, limit: int) -> Iterator[Record]:
        """Yield up to `limit` of the newest whole records, oldest first, and remember their ids."""
        newest: list[list[Record]] = []
        for path in sorted(self._folder.glob("*/*.jsonl"), reverse=True):
            if limit <= 0:
                break
            newest.append(_read(path)[-limit:])
            limit -= len(newest[-1])
        for records in reversed(newest):
            self._remember(records)
            yield from records

    def _write_forever(self) -> None:
        stopping = False
        while not stopping:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            stopping = None in waiting
            self._commit([batch for batch in waiting if batch is not None])

    def _commit(self, group: list[_Batch]) -> None:
        """Write the new records of a group with one fsync, then tell everyone who waits."""
        known: set[str] = set()
        news = []
        for records, _ in group:
            new = {r["event_id"]: r for r in records if r["event_id"] not in self._known and r["event_id"] not in known}
            known |= new.keys()
            news.append(list(new.values()))
        written = [record for new in news for record in new]
        try:
            self._write(written)
        except OSError as error:
            _logger.exception("the event log cannot be written")
            # The file may end in half a line now: the next group starts another.
            self._close_file()
            for _, done in group:
                done.set_exception(
                    PlatformError(f"events could not be written ({error}); nothing was kept, send them again")
                )
            return
        self._remember(written)
        for (_, done), accepted in zip(group, news, strict=True):
            done.set_result(accepted)

    def _write(self, records: list[Record]) -> None:
        if not records:
            return
        file = self._current_file()
        start = file.tell()
        try:
            file.write(b"".join(orjson.dumps(record) + b"\n" for record in records))
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # Refused records must not come back by replay as if they had been accepted.
            os.ftruncate(file.fileno(), start)
            raise

    def _current_file(self) -> BinaryIO:
        if self._file is not None and self._file.tell() >= MAX_FILE_BYTES:
            self._close_file()
        if self._file is None:
            now = datetime.now(UTC)
            path = self._folder / f"{now:%Y-%m-%d}" / f"{now:%H%M%S%f}-{os.getpid()}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
            _sync_folder(path.parent)
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remember(self, records: Any) -> None:
        self._known.update((record["event_id"], None) for record in records)
        while len(self._known) > MAX_REMEMBERED_IDS:
            self._known.popitem(last=False)


def _read(path: Path) -> list[Record]:
    """Return the whole records of one file; a line that was cut by a crash is not one."""
    *lines, _ = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            _logger.warning("%s line %d is not JSON and is skipped", path, number)
    return records


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable too, not only its bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
