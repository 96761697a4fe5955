"""Takes events in: each is durable before it is acknowledged, and every process soon knows those of the others.

One thread writes, and batches that wait together share one write (group commit). Another follows what other
processes append to the same log. Where that is, files or Redis, is the matter of `pipelines.stores.served`.
"""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from pipelines.errors import PlatformError
from pipelines.stores.served import Named, Record, ServedLog

MAX_WAITING = 10_000
MAX_REMEMBERED_IDS = 200_000
_logger = logging.getLogger(__name__)

_Batch = tuple[str, list[Record], "Future[list[Record]]"]


class EventLog:
    """Appends batches durably, each event id once.

    Args:
        log: where to.
    """

    def __init__(self, log: ServedLog) -> None:
        self._log = log
        self._tail = log.tail()
        self._queue: queue.Queue[_Batch | None] = queue.Queue(MAX_WAITING)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._known_lock = threading.Lock()
        self._closed = False
        self._stop = threading.Event()
        self._followed_at = time.monotonic()
        self._follower: threading.Thread | None = None
        self._thread = threading.Thread(target=self._write_forever, name="event-log", daemon=True)
        self._thread.start()

    def append(self, name: str, records: Sequence[Record]) -> "Future[list[Record]]":
        """Queue records of a data set, each with an `event_id`.

        Returns:
            A future of those that were new, as they were stamped, once they are durable. It raises PlatformError when
            they could not be written; then none of the batch was kept.

        Raises:
            PlatformError: too many batches wait, or the log is closed.
        """
        if self._closed:
            raise PlatformError("the event log is closed because the server is stopping; send the events again")
        done: Future[list[Record]] = Future()
        try:
            self._queue.put_nowait((name, list(records), done))
        except queue.Full as error:
            raise PlatformError(f"{MAX_WAITING} batches of events wait to be written; send them again later") from error
        return done

    def recent(self, limit: int) -> list[Named]:
        """Return up to `limit` of the newest events of all processes, oldest first, and remember their ids."""
        found = self._tail.recent(limit)
        self._remember(record for _, record in found)
        return found

    def follow(self, seen: Callable[[list[Named]], None], *, seconds: float) -> None:
        """From now on hand events of other processes to `seen`, looking every `seconds`."""

        def run() -> None:
            while not self._stop.wait(seconds):
                try:
                    found = self._tail.poll()
                    self._remember(record for _, record in found)
                    seen(found)
                    self._followed_at = time.monotonic()
                except Exception:  # a thread that ended would never look again, and nobody would notice
                    _logger.exception("events of other processes cannot be read; trying again")

        self._follower = threading.Thread(target=run, name="event-follower", daemon=True)
        self._follower.start()

    def lag_seconds(self) -> float:
        """Return how long ago the events of other processes were last read."""
        return time.monotonic() - self._followed_at

    def close(self) -> None:
        """Write what is queued and stop."""
        self._closed = True
        self._stop.set()
        self._queue.put(None)
        self._thread.join(timeout=30)
        if self._follower is not None:
            self._follower.join(timeout=5)
        self._log.close()

    def _write_forever(self) -> None:
        stopping = False
        while not stopping:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            stopping = None in waiting
            groups: dict[str, list[_Batch]] = {}
            for batch in waiting:
                if batch is not None:
                    groups.setdefault(batch[0], []).append(batch)
            for name, group in groups.items():
                self._commit(name, group)

    def _commit(self, name: str, group: list[_Batch]) -> None:
        """Write the new records of a group at once, then tell everyone who waits."""
        known: set[str] = set()
        news: list[list[Record]] = []
        for _, records, _ in group:
            kept = {
                r["event_id"]: r for r in records if r["event_id"] not in self._known and r["event_id"] not in known
            }
            known |= kept.keys()
            news.append(list(kept.values()))
        try:
            written = iter(self._log.append(name, [record for new in news for record in new]) if known else ())
        except Exception as error:  # a disk and a network fail in ways of many libraries; who waits must hear of it
            _logger.exception("the event log cannot be written")
            for _, _, done in group:
                done.set_exception(
                    PlatformError(f"events could not be written ({error}); nothing was kept, send them again")
                )
            return
        accepted = [[next(written) for _ in new] for new in news]
        self._remember(record for new in accepted for record in new)
        for (_, _, done), new in zip(group, accepted, strict=True):
            done.set_result(new)

    def _remember(self, records: Any) -> None:
        with self._known_lock:
            self._known.update((record["event_id"], None) for record in records)
            while len(self._known) > MAX_REMEMBERED_IDS:
                self._known.popitem(last=False)
