"""Feast's online formats, built column by column: entity keys and `Value` messages as Arrow binary columns.

Feast serializes one key and one value at a time through Python objects, which is most of what materializing costs.
The bytes made here are those that Feast's own functions make:
https://protobuf.dev/programming-guides/encoding and feast/infra/key_encoding_utils.py, version 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import FeatureStoreError

KEY_VERSION = 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers of feast.types.Value, and of feast.types.ValueType for entity keys.
_FIELDS = {"bytes": 1, "string": 2, "int32": 3, "int64": 4, "double": 5, "float": 6, "bool": 7, "timestamp": 8}
_LIST_FIELDS = {name: number + 10 for name, number in _FIELDS.items()}
_KEY_TYPES = {"string": 2, "int32": 3, "int64": 4, "timestamp": 8}


def entity_keys(columns: Sequence[tuple[str, pa.Array]]) -> pa.BinaryArray:
    """Return the serialized entity key of each row.

    Args:
        columns: name and values of each join key, of one length.

    Raises:
        FeatureStoreError: a key is null, or of a type that Feast has no key for.
    """
    ordered = sorted(columns)[:] if len(columns) == 1 else sorted(columns, key=lambda column: column[0])
    names = [name.encode() for name, _ in ordered]
    head = _uint32(len(names)) + b"".join(_uint32(_KEY_TYPES["string"]) + _uint32(len(name)) + name for name in names)
    return join([head, *(_key_value(name, values) for name, values in ordered)], len(ordered[0][1]))


def values(column: pa.Array) -> pa.BinaryArray:
    """Return a column as serialized Feast values; a null is a value with nothing set, which has no bytes.

    Raises:
        FeatureStoreError: Feast has no value of this type, or a list holds a null.
    """
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        encoded = _list_values(column)
    else:
        name = _kind(column.type)
        wire, content = _content(name, column)
        encoded = join([varint(_FIELDS[name] << 3 | wire), content], len(column))
    return pc.if_else(column.is_valid(), encoded, pa.scalar(b"", pa.binary())) if column.null_count else encoded


def timestamps(microseconds: np.ndarray) -> pa.BinaryArray:
    """Return moments, in microseconds since 1970, as serialized `google.protobuf.Timestamp` messages."""
    seconds, rest = np.divmod(microseconds, 1_000_000)
    parts = [_optional(b"\x08", seconds), _optional(b"\x10", rest * 1_000)]
    return join(parts, len(microseconds))


def join(parts: Sequence[bytes | pa.Array], num_rows: int) -> pa.BinaryArray:
    """Return the concatenation of the parts for each row; a part is a column, or bytes that all rows share."""
    columns = [pa.scalar(part, pa.binary()) if isinstance(part, bytes) else part for part in parts]
    # One column at least, or Arrow would return a single value.
    columns += [pa.repeat(pa.scalar(b"", pa.binary()), num_rows)] if all(isinstance(p, bytes) for p in parts) else []
    return pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary()))


def varint(number: int) -> bytes:
    """Return one number as a protobuf varint."""
    return bytes(varints(np.array([number], np.int64))[0].as_py())


def varints(numbers: np.ndarray) -> pa.BinaryArray:
    """Return numbers `[num_rows]` as protobuf varints; a negative one takes ten bytes."""
    numbers = np.ascontiguousarray(numbers, np.int64).view(np.uint64)
    lengths = np.ones(len(numbers), np.int32)
    for bits in range(7, 64, 7):
        longer = numbers >= np.uint64(1 << bits)
        if not longer.any():
            break
        lengths += longer
    columns = np.arange(max(lengths.max(initial=1), 1), dtype=np.uint64)
    digits = (numbers[:, None] >> (columns * np.uint64(7))).astype(np.uint8) & 0x7F
    digits |= np.where(columns < lengths[:, None] - 1, np.uint8(0x80), np.uint8(0))
    return _binary(digits[columns < lengths[:, None]], _offsets(lengths))


def fixed(matrix: np.ndarray) -> pa.BinaryArray:
    """Return the rows of a matrix of bytes `[num_rows, width]` as a binary column."""
    num_rows, width = matrix.shape
    return _binary(np.ascontiguousarray(matrix), np.arange(num_rows + 1, dtype=np.int64) * width)


def from_hex(texts: pa.StringArray) -> pa.BinaryArray:
    """Return texts of hexadecimal digits, in either case, as the bytes they stand for."""
    ends = _binary_offsets(texts)
    digits = np.frombuffer(_data(texts), np.uint8)[ends[0] : ends[-1]]
    # '0' to '9' end in their value; 'A' to 'F' and 'a' to 'f' in one to six, and have the bit of 64.
    halves = (digits & 15) + 9 * (digits >> 6)
    return _binary(halves[::2] << 4 | halves[1::2], (ends - ends[0]) // 2)


def lengths_of(column: pa.Array) -> np.ndarray:
    """Return the number of bytes of each row as int64."""
    lengths: np.ndarray = pc.binary_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _key_value(name: str, column: pa.Array) -> pa.BinaryArray:
    kind = _kind(column.type)
    if kind not in _KEY_TYPES:
        raise FeatureStoreError(f"join key {name!r} is {column.type}; expected a string or an integer. Cast the column")
    if column.null_count:
        raise FeatureStoreError(
            f"{column.null_count} of {len(column)} rows have no {name!r}; expected a key in each. Drop or fill the rows"
        )
    if kind == "string":
        content = column.cast(pa.binary())
        return join([_uint32(_KEY_TYPES[kind]), fixed(_bytes(lengths_of(content), "<u4")), content], len(column))
    width = "<i4" if kind == "int32" else "<i8"
    content = _bytes(_integers(kind, column), width)
    return join([_uint32(_KEY_TYPES[kind]) + _uint32(content.shape[1]), fixed(content)], len(column))


def _list_values(column: pa.Array) -> pa.BinaryArray:
    """A list is a message in the value: packed numbers, or one field a string."""
    starts = column.offsets.to_numpy().astype(np.int64)
    items = column.values.slice(starts[0], starts[-1] - starts[0])
    name, starts = _kind(items.type), starts - starts[0]
    if items.null_count:
        raise FeatureStoreError(f"{items.null_count} items of a list column are null; expected none. Drop them first")
    wire, content = _content(name, items)
    if wire == _BYTES:
        content = join([b"\x0a", content], len(items))
    ends = _binary_offsets(content)[starts]
    body = _binary(_data(content), ends)
    if wire != _BYTES:
        packed = join([b"\x0a", varints(np.diff(ends)), body], len(column))
        body = pc.if_else(pa.array(np.diff(starts) > 0), packed, pa.scalar(b"", pa.binary()))
    head = varint(_LIST_FIELDS[name] << 3 | _BYTES)
    return join([head, varints(lengths_of(body)), body], len(column))


def _content(name: str, column: pa.Array) -> tuple[int, pa.BinaryArray]:
    """Wire type, and the bytes after the tag; those of nulls have no meaning."""
    if name in ("string", "bytes"):
        content = pc.fill_null(column.cast(pa.binary()), b"")
        return _BYTES, join([varints(lengths_of(content)), content], len(column))
    if name in ("double", "float"):
        width = ("<f8", _FIXED64) if name == "double" else ("<f4", _FIXED32)
        return width[1], fixed(_bytes(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), width[0]))
    return _VARINT, varints(_integers(name, column))


def _integers(name: str, column: pa.Array) -> np.ndarray:
    if name == "timestamp":
        column = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False)
    numbers: np.ndarray = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return numbers


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_boolean(kind):
        return "bool"
    if kind in (pa.int32(), pa.int64(), pa.float32(), pa.float64()):
        return {"int32": "int32", "int64": "int64", "float": "float", "double": "double"}[str(kind)]
    raise FeatureStoreError(
        f"columns of type {kind} cannot go online; expected strings, bytes, numbers, booleans, timestamps or lists of "
        "them. Declare the feature with such a type"
    )


def _optional(tag: bytes, numbers: np.ndarray) -> pa.BinaryArray:
    """A field that is left out when it is zero."""
    return pc.if_else(pa.array(numbers != 0), join([tag, varints(numbers)], len(numbers)), pa.scalar(b"", pa.binary()))


def _bytes(numbers: np.ndarray, kind: str) -> np.ndarray:
    return np.ascontiguousarray(numbers.astype(kind)).view(np.uint8).reshape(len(numbers), np.dtype(kind).itemsize)


def _uint32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _binary(data: np.ndarray | pa.Buffer, offsets: np.ndarray) -> pa.BinaryArray:
    if len(offsets) and offsets[-1] > np.iinfo(np.int32).max:
        raise FeatureStoreError(f"a batch has {offsets[-1]:,} bytes; expected less than 2 GiB. Use smaller batches")
    buffer = data if isinstance(data, pa.Buffer) else pa.py_buffer(data)
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets.astype(np.int32)), buffer])


def _binary_offsets(column: pa.BinaryArray) -> np.ndarray:
    buffer: Any = column.buffers()[1]
    found: np.ndarray = np.frombuffer(buffer, np.int32)[column.offset : column.offset + len(column) + 1]
    return found.astype(np.int64) if len(found) else np.zeros(1, np.int64)


def _data(column: pa.BinaryArray) -> pa.Buffer:
    return column.buffers()[2] or pa.py_buffer(b"")
