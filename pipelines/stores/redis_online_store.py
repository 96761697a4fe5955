"""Feast's Redis online store, filled by raw commands made in columns, and never going back in time.

Feast's own store reads all event times of a batch and then writes: two writers can pass each other, and a corrected
row with an unchanged event time is left out. Here a short script compares and writes one entity in one step on the
server. Rows stay in Feast's format: any Feast reader of Redis can read them.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from redis.exceptions import NoScriptError, ResponseError

from pipelines.errors import FeatureStoreError
from pipelines.stores.online_encoding import join, lengths_of, timestamps
from pipelines.stores.online_rows import NOTHING, FeastRow, FeastRowWriter, OnlineRows

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

# Event times are google.protobuf.Timestamp messages: seconds (field 1) and nanoseconds (field 2), left out when zero.
# A negative number has ten bytes; its complement is read, since Lua's numbers are exact to 53 bits only.
GUARDED_WRITE = """
local function number(text, at)
    local value, complement, scale, first = 0, 0, 1, at
    while true do
        local byte = text:byte(at)
        value = value + byte % 128 * scale
        complement = complement + (127 - byte % 128) * scale
        scale = scale * 128
        at = at + 1
        if byte < 128 then break end
        if at - first == 9 then return -complement - 1, at + 1 end
    end
    return value, at
end
local function moment(text)
    local seconds, nanos, at = 0, 0, 1
    while at <= #text do
        local tag = text:byte(at)
        local value
        value, at = number(text, at + 1)
        if tag == 8 then seconds = value else nanos = value end
    end
    return seconds, nanos
end
local before = redis.call('HGET', KEYS[1], ARGV[2])
if before and before ~= ARGV[3] then
    local old, old_nanos = moment(before)
    local new, new_nanos = moment(ARGV[3])
    if new < old or (new == old and new_nanos < old_nanos) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""


class ForwardRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]
    """Settings of the store in the Feast yaml: those of Feast's Redis store."""

    type: Literal["pipelines.stores.redis_online_store.ForwardRedisOnlineStore"] = (
        "pipelines.stores.redis_online_store.ForwardRedisOnlineStore"
    )


class ForwardRedisOnlineStore(FeastRowWriter, RedisOnlineStore):  # type: ignore[misc]
    """Redis, one server or behind sentinels; an entity's row is replaced only by one that is not older."""

    _script: bytes | None = None

    async def online_write_batch_async(
        self,
        config: "RepoConfig",
        table: "FeatureView",
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write Feast's rows in a thread; those older than what is there are left out."""
        import asyncio

        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def write_columns(self, config: "RepoConfig", view: "FeatureView", rows: OnlineRows) -> None:
        """Send one guarded write an entity, all in one go; those older than what is there are left out."""
        if not len(rows):
            return
        name = _view_name(config, view)
        fields = [part for feature, column in rows.values.items() for part in (_mmh3(f"{name}:{feature}"), column)]
        expiry = str(config.online_store.key_ttl_seconds or 0).encode()
        arguments = [_row_keys(config, rows.keys), expiry, _time_field(name), timestamps(rows.event_us), *fields]
        client = self._single_server(config)
        try:
            self._send(client, [b"EVALSHA", self._loaded(client), b"1", *arguments], len(rows))
        except NoScriptError:  # The server was restarted since.
            self._script = None
            self._send(client, [b"EVALSHA", self._loaded(client), b"1", *arguments], len(rows))

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""
        name = _view_name(config, view)
        features = [field.name for field in view.features]
        fields = [_mmh3(f"{name}:{feature}") for feature in features]
        client = self._single_server(config)
        found = self._send(client, [b"HMGET", _row_keys(config, keys), _time_field(name), *fields], len(keys))
        stamps, *columns = zip(*found, strict=True) if found else [()] * (len(features) + 1)
        complete = np.array([None not in row for row in found], bool)
        event_us = np.where(complete, [_moment(stamp) for stamp in stamps], NOTHING).astype(np.int64)
        values = {
            feature: pa.array([value or b"" for value in column], pa.binary())
            for feature, column in zip(features, columns, strict=True)
        }
        return OnlineRows(keys, values, event_us, np.full(len(keys), NOTHING))

    def remember(self, config: "RepoConfig", view: "FeatureView", note: str) -> None:
        """Keep a note about a view beside its rows."""
        self._single_server(config).hset(_notes(config), _view_name(config, view), note)

    def remembered(self, config: "RepoConfig", view: "FeatureView") -> str | None:
        """Return the note kept last about a view."""
        note = self._single_server(config).hget(_notes(config), _view_name(config, view))
        return None if note is None else bytes(note).decode()

    def _single_server(self, config: "RepoConfig") -> Any:
        if config.online_store.redis_type == RedisType.redis_cluster:
            raise FeatureStoreError(
                "redis_type is redis_cluster; expected redis or redis_sentinel. Guarded writes are sent to one server"
            )
        return self._get_client(config.online_store)

    def _loaded(self, client: Any) -> bytes:
        if self._script is None:
            self._script = str(client.script_load(GUARDED_WRITE)).encode()
        return self._script

    def _send(self, client: Any, words: list[bytes | pa.BinaryArray], num_rows: int) -> list[Any]:
        """Send one command a row and return the answers; raises the first error among them."""
        with _connection(client) as connection:
            connection.send_packed_command([_packed(words, num_rows)])
            answers, problem = [], None
            for _ in range(num_rows):
                try:
                    answers.append(connection.read_response(disable_decoding=True))
                except ResponseError as error:  # The other answers are still to be read.
                    problem = problem or error
        if problem:
            raise problem
        return answers


@contextlib.contextmanager
def _connection(client: Any) -> Iterator[Any]:
    connection = client.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()  # Answers may still be on their way.
        raise
    finally:
        client.connection_pool.release(connection)


def _packed(words: list[bytes | pa.BinaryArray], num_rows: int) -> Any:
    """The commands as one buffer, by the Redis protocol: https://redis.io/docs/latest/develop/reference/protocol-spec."""
    parts: list[bytes | pa.BinaryArray] = [b"*%d\r\n" % len(words)]
    for word in words:
        if isinstance(word, bytes):
            parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
        else:
            length = pc.cast(pc.cast(pa.array(lengths_of(word)), pa.string()), pa.binary())
            parts += [b"$", length, b"\r\n", word, b"\r\n"]
    commands = join(_merged(parts), num_rows)
    offsets = np.frombuffer(commands.buffers()[1], np.int32)
    return memoryview(commands.buffers()[2])[int(offsets[0]) : int(offsets[num_rows])]


def _merged(parts: list[bytes | pa.BinaryArray]) -> list[bytes | pa.BinaryArray]:
    """Neighbouring constants as one."""
    merged: list[bytes | pa.BinaryArray] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _row_keys(config: "RepoConfig", keys: pa.BinaryArray) -> pa.BinaryArray:
    return join([keys, config.project.encode()], len(keys))


def _view_name(config: "RepoConfig", view: "FeatureView") -> str:
    return str(compute_versioned_name(view, config.registry.enable_online_feature_view_versioning))


def _time_field(view_name: str) -> bytes:
    return f"_ts:{view_name}".encode()


def _notes(config: "RepoConfig") -> str:
    return f"tandem_notes:{config.project}"


def _moment(stamp: bytes | None) -> int:
    from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

    return NOTHING if stamp is None else int(Timestamp.FromString(stamp).ToMicroseconds())
