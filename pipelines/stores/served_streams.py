"""Served records in Redis streams, for processes on several machines: one stream a log.

    tandem:<kind>:<name>           the stream; field `r` of an entry is the record as JSON
    tandem:<kind>:names            names of the logs
    tandem:<kind>:id               identity of this place
    tandem:<kind>:<name>:batch     the batch that is claimed and not released
    tandem:<kind>:<name>:drained   last released id, number of its batch, and until when all is drained

An entry's id is the server's clock and only grows: a record's stamp is taken from it, so one machine's clock orders
the events of all, and a batch is a range of ids. What is appended at once is one transaction. Redis has to write its
log before it answers (`appendonly yes`, `appendfsync always`); appending durable records to one that does not fails.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import orjson
import redis

from pipelines.contracts import EventBatch
from pipelines.errors import PlatformError
from pipelines.stores.redis_log import rewrite_log
from pipelines.stores.served import Belongs, Named, Record, Stamp, stamp_event

MAX_RECORDS = 1_000_000
CHUNK_RECORDS = 10_000
TIMEOUT_SECONDS = 10
_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ServedStreams:
    """A `ServedLog` in Redis.

    Args:
        address: URL of the server, such as `redis://:password@host:6379/2`.
        kind: part of the keys.
        stamp: applied to each record when it is read; the moment is that of its entry.
        durable: whether the server must have records on disk when `append` returns, and keeps all of them; otherwise
            a stream keeps about its newest `MAX_RECORDS`.
    """

    def __init__(self, address: str, kind: str, *, stamp: Stamp = stamp_event, durable: bool = True) -> None:
        self._redis = redis.Redis.from_url(
            address, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._prefix = f"tandem:{kind}"
        self._stamp = stamp
        self._durable = durable
        self._checked = False

    def append(self, name: str, records: Sequence[Record]) -> list[Record]:
        """Append records in one transaction and return them stamped.

        Raises:
            PlatformError: the server would answer before it has them on disk; nothing was appended.
            redis.RedisError: the server cannot be reached or refused.
        """
        self._check_durable()
        pipe = self._redis.pipeline(transaction=True)
        pipe.sadd(self._key("names"), name)
        bound = {} if self._durable else {"maxlen": MAX_RECORDS, "approximate": True}
        for record in records:
            pipe.xadd(self._key(name), {"r": orjson.dumps(record)}, **bound)  # type: ignore[arg-type]  # stubs know no bound
        _, *ids = pipe.execute()
        return [self._stamp(record, moment_of(id_)) for id_, record in zip(ids, records, strict=True)]

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def tail(self) -> "StreamTail":
        """Return a reader of all logs, this process's own records included."""
        return StreamTail(self)

    def newest(self, name: str, limit: int) -> list[Record]:
        """Return up to `limit` of the newest records of a log, oldest first."""
        return [self.record(entry) for entry in self.newest_entries(name, limit)]

    def prune(self, name: str, *, older_than: timedelta, max_bytes: int | None = None) -> None:
        """Delete entries older than `older_than`; their number bounds a stream, its bytes cannot be told."""
        oldest = int((self._now() - older_than - _EPOCH).total_seconds() * 1000)
        self._redis.xtrim(self._key(name), minid=str(max(oldest, 0)), approximate=True)

    def names(self) -> list[str]:
        """Return the names of the logs there are."""
        members: Any = self._redis.smembers(self._key("names"))
        return sorted(name.decode() for name in members)

    def log_id(self) -> str:
        """Return the identity of this place, made when first asked for."""
        import uuid

        self._redis.set(self._key("id"), uuid.uuid4().hex[:12], nx=True)
        found: Any = self._redis.get(self._key("id"))
        return str(found.decode())

    def waiting(self, name: str) -> bool:
        """Return whether a log has records that are in no released batch."""
        return (
            bool(self._redis.exists(self._key(name, "batch"))) or self._newest(name, self._drained(name)[0]) is not None
        )

    def claim(self, name: str, *, after: int) -> EventBatch | None:
        """Return the batch that waits, else claim all entries after the last released one; None when there is none."""

        def claimed(pipe: Any) -> EventBatch | None:
            waiting = pipe.get(self._key(name, "batch"))
            if waiting is not None:
                return EventBatch.model_validate_json(waiting)
            last, number, _ = self._drained(name)
            # In this order: what is appended between the two comes after `until`.
            until, newest = self._now(), self._newest(name, last)
            pipe.multi()
            if newest is None:
                pipe.set(self._key(name, "drained"), _state(last, max(number, after), until))
                return None
            until = max(until, moment_of(newest.encode()) + timedelta(microseconds=1))
            number = max(number, after) + 1
            batch = EventBatch(log_id=self.log_id(), name=name, number=number, until=until, parts=(last, newest))
            pipe.set(self._key(name, "batch"), batch.model_dump_json())
            return batch

        return self._unless_overtaken(name, claimed)

    def read(self, batch: EventBatch) -> Iterator[list[Record]]:
        """Yield a claimed batch's records in chunks, in order of `ingested_at`."""
        first, last = batch.parts
        while True:
            entries: Any = self._redis.xrange(self._key(batch.name), f"({first}", last, count=CHUNK_RECORDS)
            if not entries:
                return
            yield [self.record(entry) for entry in entries]
            first = entries[-1][0].decode()

    def release(self, batch: EventBatch, *, keep: timedelta) -> None:
        """Mark a batch as drained and delete drained entries older than `keep`."""

        def released(pipe: Any) -> bool:
            waiting = pipe.get(self._key(batch.name, "batch"))
            if waiting is None or EventBatch.model_validate_json(waiting) != batch:
                return False
            pipe.multi()
            pipe.set(self._key(batch.name, "drained"), _state(batch.parts[1], batch.number, batch.until))
            pipe.delete(self._key(batch.name, "batch"))
            return True

        if not self._unless_overtaken(batch.name, released):
            return
        oldest = int((self._now() - keep - _EPOCH).total_seconds() * 1000)
        drained = int(batch.parts[1].split("-")[0])
        self._redis.xtrim(self._key(batch.name), minid=str(min(oldest, drained)), approximate=False)

    def complete_until(self, name: str) -> datetime | None:
        """Return the moment before which everything is drained."""
        return self._drained(name)[2]

    def count(self, name: str, belongs: Belongs) -> int:
        """Return how many records of a log belong."""
        return sum(1 for _ in self._ids_of(name, belongs))

    def erase(self, name: str, belongs: Belongs) -> None:
        """Delete the entries that belong, then let the server write its log anew, without them."""
        for id_ in list(self._ids_of(name, belongs)):
            self._redis.xdel(self._key(name), id_)
        rewrite_log(self._redis)

    def _ids_of(self, name: str, belongs: Belongs) -> Iterator[bytes]:
        after = "0-0"
        while entries := self.entries_after(name, after):
            after = entries[-1][0].decode()
            yield from (entry[0] for entry in entries if belongs(self.record(entry)))

    def record(self, entry: tuple[bytes, dict[bytes, bytes]]) -> Record:
        """Return the record of a stream's entry, stamped with the entry's moment."""
        id_, fields = entry
        return self._stamp(orjson.loads(fields[b"r"]), moment_of(id_))

    def entries_after(self, name: str, id_: str, count: int = CHUNK_RECORDS) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return up to `count` entries of a log after an id."""
        found: Any = self._redis.xrange(self._key(name), f"({id_}", "+", count=count)
        return list(found)

    def newest_entries(self, name: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return up to `count` of the newest entries of a log, oldest first."""
        found: Any = self._redis.xrevrange(self._key(name), "+", "-", count=count)
        return list(reversed(found))

    def _check_durable(self) -> None:
        if self._checked or not self._durable:
            return
        found: Any = self._redis.config_get("append*")
        policy = {name: found.get(name) for name in ("appendonly", "appendfsync")}
        if policy != {"appendonly": "yes", "appendfsync": "always"}:
            raise PlatformError(
                f"Redis answers before events are on disk ({policy}); expected appendonly yes and appendfsync always. "
                "Set both with CONFIG SET and in its configuration file"
            )
        self._checked = True

    def _now(self) -> datetime:
        found: Any = self._redis.time()
        seconds, microseconds = found
        # Whole milliseconds, as ids are: nothing appended later has an earlier moment.
        return _EPOCH + timedelta(seconds=seconds, milliseconds=microseconds // 1000)

    def _newest(self, name: str, after: str) -> str | None:
        """The newest id after another; the entry of that one may be gone."""
        found: Any = self._redis.xrevrange(self._key(name), "+", f"({after}", count=1)
        return found[0][0].decode() if found else None

    def _drained(self, name: str) -> tuple[str, int, datetime | None]:
        found: Any = self._redis.get(self._key(name, "drained"))
        if found is None:
            return "0-0", 0, None
        state = orjson.loads(found)
        return state["last"], state["number"], datetime.fromisoformat(state["until"])

    def _unless_overtaken(self, name: str, change: Callable[[Any], _T]) -> _T:
        """Apply a change of what is claimed and drained; again from the start when another drain changed it meanwhile.

        Args:
            name: the log.
            change: takes a pipeline that watches both keys; what it queues after `multi` is one transaction.
        """
        keys = (self._key(name, "batch"), self._key(name, "drained"))
        changed = self._redis.transaction(change, *keys, value_from_callable=True)  # type: ignore[arg-type]  # stubs know no value
        return cast(_T, changed)

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


class StreamTail:
    """Follows all streams by the id each was read to."""

    def __init__(self, streams: ServedStreams) -> None:
        """Begin at the beginning."""
        self._streams = streams
        self._ids: dict[str, str] = {}

    def recent(self, limit: int) -> list[Named]:
        """Return up to `limit` of the newest records of each log, oldest first."""
        found: list[Named] = []
        for name in self._streams.names():
            entries = self._streams.newest_entries(name, limit)
            self._advance(name, entries)
            found += [(name, self._streams.record(entry)) for entry in entries]
        return found

    def poll(self) -> list[Named]:
        """Return what was appended since."""
        found: list[Named] = []
        for name in self._streams.names():
            while entries := self._streams.entries_after(name, self._ids.get(name, "0-0")):
                self._advance(name, entries)
                found += [(name, self._streams.record(entry)) for entry in entries]
        return found

    def _advance(self, name: str, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if entries:
            self._ids[name] = entries[-1][0].decode()


def _state(last: str, number: int, until: datetime) -> bytes:
    return orjson.dumps({"last": last, "number": number, "until": until.isoformat(timespec="microseconds")})


def moment_of(id_: bytes) -> datetime:
    """Return the moment of an entry: its millisecond, and within it its place."""
    milliseconds, place = id_.decode().split("-")
    return _EPOCH + timedelta(milliseconds=int(milliseconds), microseconds=min(int(place), 999))
