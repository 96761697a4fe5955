"""Feast's Redis online store, filled by raw commands made in columns, and never going back in time.

Feast's own store reads all event times of a batch and then writes: two writers can pass each other, and a corrected
row with an unchanged event time is left out. Here a short script compares and writes a hundred entities in one step
on the server, which answers nobody else meanwhile: about a millisecond. Rows stay in Feast's format: any Feast reader
of Redis can read them.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from redis.exceptions import NoScriptError, ResponseError

from pipelines.errors import FeatureStoreError
from pipelines.stores.online_encoding import fixed, join, lengths_of, timestamps
from pipelines.stores.online_rows import NOTHING, FeastRow, FeastRowWriter, OnlineRows
from pipelines.stores.redis_log import rewrite_log

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.repo_config import RepoConfig

ROWS_A_CALL = 100
ROWS_PACKED = 1_000  # at once: the server works on them while the next are packed
# KEYS are the entities. ARGV: expiry in seconds, name of the event time's field, then of each entity the event time and
# names and values of its other fields, one after the other as MessagePack strings: one argument is cheaper to take than
# forty, and they become the arguments of HSET without a table between. An error of one entity does not keep the others
# from being written.
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
local function older(text, before)
    if not before or before == text then return false end
    local old, old_nanos = moment(before)
    local new, new_nanos = moment(text)
    return new < old or (new == old and new_nanos < old_nanos)
end
local expiry, field, problem = ARGV[1], ARGV[2], nil
for entity, key in ipairs(KEYS) do
    local event_time, before = ARGV[2 * entity + 1], redis.pcall('HGET', key, field)
    if type(before) == 'table' then
        problem = before
    elseif not older(event_time, before) then
        redis.call('HSET', key, field, event_time, cmsgpack.unpack(ARGV[2 * entity + 2]))
        if expiry ~= '0' then redis.call('EXPIRE', key, expiry) end
    end
end
return problem or #KEYS
"""


class ForwardRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Settings of the store in the Feast yaml: those of Feast's Redis store."""

    type: Literal["pipelines.stores.redis_online_store.ForwardRedisOnlineStore"] = (
        "pipelines.stores.redis_online_store.ForwardRedisOnlineStore"
    )


class ForwardRedisOnlineStore(FeastRowWriter, RedisOnlineStore):
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
        """Send guarded writes, all in one go; those older than what is there are left out."""
        if not len(rows):
            return
        name = _view_name(config, view)
        expiry = str(config.online_store.key_ttl_seconds or 0).encode()
        fields = {_mmh3(f"{name}:{feature}"): column for feature, column in rows.values.items()}
        shared = _words([expiry, _time_field(name)])
        columns = [_row_keys(config, rows.keys), timestamps(rows.event_us), _packed(fields, len(rows))]
        client, num_calls = self._single_server(config), -(-len(rows) // ROWS_A_CALL)
        try:
            self._send(client, _calls(self._loaded(client), shared, columns), num_calls)
        except NoScriptError:  # The server was restarted since.
            self._script = None
            self._send(client, _calls(self._loaded(client), shared, columns), num_calls)

    def read_columns(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> OnlineRows:
        """Return what is there for each key; `event_us` is `NOTHING` where a feature of the view is missing."""
        name = _view_name(config, view)
        features = [field.name for field in view.features]
        fields = [_mmh3(f"{name}:{feature}") for feature in features]
        found = self._fields(config, keys, [_time_field(name), *fields])
        stamps, *columns = zip(*found, strict=True) if found else [()] * (len(features) + 1)
        complete = np.array([None not in row for row in found], bool)
        event_us = np.where(complete, [_moment(stamp) for stamp in stamps], NOTHING).astype(np.int64)
        values = {
            feature: pa.array([value or b"" for value in column], pa.binary())
            for feature, column in zip(features, columns, strict=True)
        }
        return OnlineRows(keys, values, event_us, np.full(len(keys), NOTHING))

    def event_times(self, config: "RepoConfig", view: "FeatureView", keys: pa.BinaryArray) -> np.ndarray:
        """Return for each key its event time, `NOTHING` where there is no row."""
        found = self._fields(config, keys, [_time_field(_view_name(config, view))])
        return np.array([_moment(stamp) for (stamp,) in found], np.int64)

    def count_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> int:
        """Return how many fields there are of an entity: one hash holds those of all its views."""
        return int(self._single_server(config).hlen(key + config.project.encode()))

    def erase_entity(self, config: "RepoConfig", views: Sequence["FeatureView"], key: bytes) -> None:
        """Delete an entity's hash, then let a server that keeps a log of its commands write it anew."""
        client = self._single_server(config)
        client.delete(key + config.project.encode())
        rewrite_log(client)

    def delete_table(self, config: "RepoConfig", table: "FeatureView") -> None:
        """Delete a view's fields of every entity of the project, a few at a time, and its note.

        Feast's own takes all keys that end in the project's name: those of a project with a longer name, too.
        """
        client, name, project = self._single_server(config), _view_name(config, table), config.project.encode()
        fields = [_time_field(name), *(_mmh3(f"{name}:{field.name}") for field in table.features)]
        prefix = serialize_entity_key_prefix(table.join_keys)
        keys = client.scan_iter(prefix + b"*" + project, count=ROWS_PACKED)
        ours = (key for key in keys if _after_values(key, len(prefix), len(table.join_keys)) == project)
        while some := list(islice(ours, ROWS_PACKED)):
            with client.pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hdel(key, *fields)  # the last field takes the key with it
                pipe.execute()
        client.hdel(_notes(config), name)

    def remember(self, config: "RepoConfig", view: "FeatureView", note: str) -> None:
        """Keep a note about a view beside its rows."""
        self._single_server(config).hset(_notes(config), _view_name(config, view), note)

    def remembered(self, config: "RepoConfig", view: "FeatureView") -> str | None:
        """Return the note kept last about a view."""
        note = self._single_server(config).hget(_notes(config), _view_name(config, view))
        return None if note is None else bytes(note).decode()

    def _get_features_for_entity(
        self, values: Sequence[bytes | None], feature_view: str, requested_features: list[str]
    ) -> tuple[datetime | None, dict[str, Any] | None]:
        """Return a row's event time and values; Feast's own says 1970 where there is no row, and that has expired."""
        if dict(zip(requested_features, values, strict=True))[_time_field(feature_view).decode()] is None:
            return None, None
        found: tuple[datetime, dict[str, Any]] = super()._get_features_for_entity(
            values, feature_view, requested_features
        )
        return found

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

    def _fields(self, config: "RepoConfig", keys: pa.BinaryArray, fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """The asked fields of each entity."""
        words = [b"HMGET", _row_keys(config, keys), *fields]
        commands = _row_words(words, len(keys), head=b"*%d\r\n" % len(words))
        return self._send(self._single_server(config), [_part(commands, 0, len(keys))], len(keys))

    def _send(self, client: Any, commands: Iterable[Any], num: int) -> list[Any]:
        """Send `num` commands and return the answers; raises the first error among them."""
        with _connection(client) as connection:
            connection.send_packed_command(commands)
            answers, problem = [], None
            for _ in range(num):
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


def _calls(script: bytes, shared: bytes, columns: Sequence[pa.BinaryArray]) -> Iterator[bytes]:
    """Calls of the script for `ROWS_A_CALL` rows each; `columns` are the keys, event times and packed fields.

    Commands are made by the Redis protocol: https://redis.io/docs/latest/develop/reference/protocol-spec.
    """
    for packed in range(0, len(columns[0]), ROWS_PACKED):
        keys, *values = (column.slice(packed, ROWS_PACKED) for column in columns)
        key_words, value_words = _row_words([keys], len(keys)), _row_words(values, len(keys))
        for start in range(0, len(keys), ROWS_A_CALL):
            num = min(ROWS_A_CALL, len(keys) - start)
            num_words = 5 + num * len(columns)
            head = b"*%d\r\n" % num_words + _words([b"EVALSHA", script, b"%d" % num])
            yield b"".join([head, _part(key_words, start, num), shared, _part(value_words, start, num)])


def _packed(fields: dict[bytes, pa.BinaryArray], num_rows: int) -> pa.BinaryArray:
    """Names and values as MessagePack strings: https://github.com/msgpack/msgpack/blob/master/spec.md#str-format-family."""
    parts: list[bytes | pa.BinaryArray] = []
    for name, column in fields.items():
        lengths = lengths_of(column)
        if lengths.max(initial=0) < 32:
            head = [fixed((lengths | 0xA0).astype(np.uint8)[:, None])]
        else:
            head = [b"\xdb", fixed(lengths.astype(">u4").view(np.uint8).reshape(-1, 4))]
        parts += [bytes([0xA0 | len(name)]) + name, *head, column]
    return join(_merged(parts), num_rows)


def _words(words: Sequence[bytes]) -> bytes:
    return b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _row_words(words: Sequence[bytes | pa.BinaryArray], num_rows: int, head: bytes = b"") -> pa.BinaryArray:
    """The words of each row, after `head`; one of bytes is the same in all rows."""
    parts: list[bytes | pa.BinaryArray] = [head]
    for word in words:
        if isinstance(word, bytes):
            parts.append(_words([word]))
        else:
            length = pc.cast(pc.cast(pa.array(lengths_of(word)), pa.string()), pa.binary())
            parts += [b"$", length, b"\r\n", word, b"\r\n"]
    return join(_merged(parts), num_rows)


def _part(column: pa.BinaryArray, start: int, num: int) -> memoryview:
    """The bytes of `num` rows from `start` on."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset + start :]
    return memoryview(column.buffers()[2])[int(offsets[0]) : int(offsets[num])]


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


def _after_values(key: bytes, start: int, num_values: int) -> bytes:
    """What follows the values of a serialized entity key, which begin at `start`: each has type, length, bytes."""
    for _ in range(num_values):
        start += 8 + int.from_bytes(key[start + 4 : start + 8], "little")
    return key[start:]


def _moment(stamp: bytes | None) -> int:
    from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # it has no stubs

    return NOTHING if stamp is None else int(Timestamp.FromString(stamp).ToMicroseconds())
