"""What serving writes and pipelines read: events that callers posted, and the features that answers were made from.

Two places keep them: files on a disk that both share (`served_files`), or Redis streams (`served_streams`). Either is
a set of logs by name, one a data set, and offers the same two sides. Serving appends, reads what was appended lately
and follows what others append. A drain claims everything so far as a numbered batch, reads it, and releases it when
it is safe elsewhere; a claimed batch stays the same until it is released, however often it is asked for.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from pipelines.contracts import EVENT_TIMESTAMP, INGESTED_AT, EventBatch
from pipelines.errors import ConfigError

Record = dict[str, Any]
Named = tuple[str, Record]
Stamp = Callable[[Record, datetime], Record]
Belongs = Callable[[Record], bool]
Place = Literal["files", "redis"]

EVENT_LOG = "events"
FEATURE_LOG = "requests"
FORGOTTEN_LOG = "forgotten"
UNASSIGNED = "unassigned"
"""The log of what came before serving knew a data set."""
UNREADABLE = "unreadable"
"""Column of a record that is no JSON object any more: its text."""
REDIS_VARIABLE = "SERVED_REDIS"


class Tail(Protocol):
    """Reads each record once, in any process."""

    def recent(self, limit: int) -> list[Named]:
        """Return up to `limit` of the newest records, oldest first; `poll` goes on from there."""

    def poll(self) -> list[Named]:
        """Return (log name, record) of everything appended since, by any process."""


class ServedLog(Protocol):
    """Logs by name that several processes append to."""

    def append(self, name: str, records: Sequence[Record]) -> list[Record]:
        """Stamp and append records; they are durable when it returns.

        Raises:
            OSError: nothing was kept.
        """

    def tail(self) -> Tail:
        """Return a reader of all logs."""

    def newest(self, name: str, limit: int) -> list[Record]:
        """Return up to `limit` of the newest records of a log, oldest first."""

    def prune(self, name: str, *, older_than: timedelta, max_bytes: int | None = None) -> None:
        """Delete records older than `older_than`, and the oldest beyond `max_bytes` where size can be told."""

    def close(self) -> None:
        """Close what is open."""

    def names(self) -> list[str]:
        """Return the names of the logs there are."""

    def waiting(self, name: str) -> bool:
        """Return whether a log has records that are in no released batch."""

    def claim(self, name: str, *, after: int) -> EventBatch | None:
        """Return the batch that waits, else everything appended so far as a new one; None when there is nothing.

        Args:
            name: which log.
            after: the highest number that was used elsewhere; a new batch gets a higher one.
        """

    def read(self, batch: EventBatch) -> Iterator[list[Record]]:
        """Yield a batch's records in chunks, in order of `ingested_at`."""

    def release(self, batch: EventBatch, *, keep: timedelta) -> None:
        """Give a batch up: its records are safe elsewhere. They stay readable to tails for about `keep`."""

    def complete_until(self, name: str) -> datetime | None:
        """Return the moment before which every record is in a released batch; None before the first drain."""

    def count(self, name: str, belongs: Belongs) -> int:
        """Return how many records of a log belong, drained ones that are still kept included."""

    def erase(self, name: str, belongs: Belongs) -> None:
        """Remove the records that belong. Claimed batches, and what others read of the rest, stay as they are."""

    def log_id(self) -> str:
        """Return the identity of this place; numbers of batches mean something within one place only."""


def stamp_event(record: Record, now: datetime) -> Record:
    """Return an event that arrives now. One from a clock that is ahead happened when it arrived, not after."""
    happened = record.get(EVENT_TIMESTAMP)
    moment = now.isoformat(timespec="microseconds")
    return {
        **record,
        EVENT_TIMESTAMP: moment if happened is None else min(happened, moment),
        INGESTED_AT: moment,
    }


def stamp_nothing(record: Record, now: datetime) -> Record:
    """Return the record as it is."""
    return record


def open_served(place: Place, kind: str, *, home: Path) -> ServedLog:
    """Open the logs of one kind.

    Args:
        place: `files` below `home`, or `redis` at the address in the environment variable `SERVED_REDIS`.
        kind: `EVENT_LOG`, whose records are stamped on arrival; `FEATURE_LOG`, whose records are not durable; or
            `FORGOTTEN_LOG`.
        home: the platform's home.

    Raises:
        ConfigError: `redis` without its address.
    """
    durable = kind != FEATURE_LOG
    stamp = stamp_event if kind == EVENT_LOG else stamp_nothing
    if place == "files":
        from pipelines.stores.served_files import ServedFiles

        return ServedFiles(home / "serving" / kind, stamp=stamp, durable=durable)
    from pipelines.stores.served_streams import ServedStreams

    address = os.environ.get(REDIS_VARIABLE)
    if not address:
        raise ConfigError(
            f"served records are kept in Redis, but {REDIS_VARIABLE} is not set; expected an address such as "
            "redis://:password@host:6379/2 in the environment"
        )
    return ServedStreams(address, kind, stamp=stamp, durable=durable)


def utc_now() -> datetime:
    """Return now, UTC."""
    return datetime.now(UTC)


def chunked(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield lists of up to `size` records."""
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
