"""Which features answers were made from: a sample of requests, for the parity check to compute again offline.

A request never waits for this log. Records queue for one thread; when the queue is full they are dropped and counted.
Files or streams are bounded by size and age, like the events they are about.
"""

import itertools
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pipelines.stores.served import Record, ServedLog

MAX_WAITING = 5_000
PRUNE_SECONDS = 60.0
_logger = logging.getLogger(__name__)


class FeatureLog:
    """Keeps the features of every so many requests.

    Args:
        log: where to.
        share: share of requests that is kept, 0 to 1.
        keep: how long records stay.
        max_bytes: how much disk a data set's records may take.
        dropped: called for each record that found the queue full or could not be written.
    """

    def __init__(
        self, log: ServedLog, *, share: float, keep: timedelta, max_bytes: int, dropped: Callable[[], None]
    ) -> None:
        self._log = log
        self._share = share
        self._keep = keep
        self._max_bytes = max_bytes
        self._dropped = dropped
        self._requests = itertools.count(1)
        self._pruned_at = float("-inf")
        self._queue: queue.Queue[tuple[str, Record] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write_forever, name="feature-log", daemon=True)
        self._thread.start()

    def wants(self) -> bool:
        """Return whether the request that asks is one of the sample: evenly spaced, so that load decides nothing."""
        number = next(self._requests)
        return int(number * self._share) != int((number - 1) * self._share)

    def add(self, dataset: str, record: Record) -> None:
        """Queue a record."""
        try:
            self._queue.put_nowait((dataset, record))
        except queue.Full:
            self._dropped()

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._log.close()

    def _write_forever(self) -> None:
        stopping = False
        while not stopping:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            stopping = None in waiting
            records: dict[str, list[Record]] = {}
            for dataset, record in filter(None, waiting):
                records.setdefault(dataset, []).append(record)
            for dataset, found in records.items():
                self._write(dataset, found)

    def _write(self, dataset: str, records: list[Record]) -> None:
        try:
            self._log.append(dataset, records)
            if time.monotonic() - self._pruned_at > PRUNE_SECONDS:
                self._pruned_at = time.monotonic()
                self._log.prune(dataset, older_than=self._keep, max_bytes=self._max_bytes)
        except Exception:  # whatever a disk or network does, requests go on without this log
            _logger.exception("features of %d requests were not kept", len(records))
            for _ in records:
                self._dropped()


def feature_record(
    features: pa.Table,
    items: pa.Table,
    *,
    read_at: datetime,
    moment: datetime,
    stored_until: datetime | None,
    release: str,
    snapshot: Mapping[str, Any],
    history_length: int,
    expired: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the parity check needs of a request.

    Args:
        features: the one row that the models read.
        items: `item_id`, features and `taste_match` of items in the answer, as the ranker read them.
        read_at: when the user's features were read: the moment whose knowledge they hold.
        moment: the request's own time, which context features are of.
        stored_until: up to when the online store's features knew the user's events; None if it had none.
        release: version that answered.
        snapshot: of the release, as JSON values: its item features are as of it.
        history_length: recent items the release's models read.
        expired: views whose features are not the user's, for their rows were too old.
    """
    (row,) = features.to_pylist()
    user_id = row.pop("user_id")
    return {
        "request_id": uuid.uuid4().hex,
        "user_id": user_id,
        "read_at": read_at.isoformat(timespec="microseconds"),
        "request_timestamp": moment.isoformat(timespec="microseconds"),
        "stored_until": stored_until and stored_until.isoformat(timespec="microseconds"),
        "release": release,
        "snapshot": dict(snapshot),
        "history_length": history_length,
        "expired": list(expired),
        "features": row,
        "items": items.to_pylist(),
    }
