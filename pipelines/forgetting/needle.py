"""How a user's id looks wherever it may stand: in text, in JSON within JSON, in Feast's keys, in columns.

An id such as `7` stands everywhere without meaning a user. It counts only where the text before it says so (`user_id`,
`user`), in the columns that hold users, and in Feast's serialized keys. An id that tells by itself counts as a whole
word anywhere: five characters of which one is a letter and one a digit or `@`, or nine digits, or sixteen characters.
"""

import html
import json
import re
from collections.abc import Iterator
from mmap import mmap

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts import USER_ID
from pipelines.stores.online_encoding import entity_keys

RAW_ROW = "raw_row"
"""Column of the quarantine: a raw row as JSON."""
USER_COLUMNS = (USER_ID, RAW_ROW)
_NOT_A_WORD = rb"(?<![0-9A-Za-z])"
_WORD_ENDS = rb"(?![0-9A-Za-z])"


class Needle:
    """One user's id, to be found.

    Args:
        user_id: whose.

    Attributes:
        telling: whether the id means this user wherever it stands.
        key: Feast's serialized entity key.
    """

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.telling = _telling(user_id)
        self.key: bytes = entity_keys([(USER_ID, pa.array([user_id]))])[0].as_py()
        self._forms = tuple(form.encode() for form in sorted(_written(user_id, depth=4) | {html.escape(user_id)}))
        one_of = b"|".join(map(re.escape, self._forms))
        self._words = re.compile(_NOT_A_WORD + b"(" + one_of + b")" + _WORD_ENDS)
        named = rb"[Uu]ser(?:_id)?[\s!-/:-@\[-`{-~]{1,16}"  # printable: in binary files anything may follow the word
        listed = rb'sample_users\\*"\s*:\s*\[[^\]]*?"'
        self._named = re.compile(b"(?:(?<![0-9A-Za-z_])" + named + b"|" + listed + b")(" + one_of + b")" + _WORD_ENDS)
        # For engines without Python's escapes: DataFusion, and RE2 in Arrow.
        self._pattern = f"(?:{'|'.join(map(_literal, sorted(_written(user_id, depth=1))))})"

    def spans(self, content: bytes | mmap) -> Iterator[tuple[int, int]]:
        """Yield start and end of each place where the id stands in bytes."""
        for key in (self.key, self.key.hex().encode()):
            start = content.find(key)
            while start >= 0:
                yield start, start + len(key)
                start = content.find(key, start + len(key))
        if any(content.find(form) >= 0 for form in self._forms):
            pattern = self._words if self.telling else self._named
            yield from (match.span(1) for match in pattern.finditer(content))

    def within(self, content: bytes | mmap) -> bool:
        """Return whether the id stands anywhere in bytes."""
        return next(self.spans(content), None) is not None

    def predicate(self, columns: list[str]) -> str | None:
        """Return SQL that is true for a lake table's rows of the user; None if no column speaks of users."""
        if USER_ID in columns:
            return f"{USER_ID} = {_quoted(self.user_id)}"
        if RAW_ROW in columns:
            return f"regexp_like({RAW_ROW}, {_quoted(self._raw_pattern)})"
        return None

    def rows(self, batch: pa.RecordBatch, *, vocabulary: bool = False) -> int:
        """Return how many rows of a batch hold the id.

        Args:
            batch: of any columns; those without text or users play no part.
            vocabulary: whether the columns are a model's vocabulary of users.
        """
        masks = [
            mask
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if (mask := self._mask(name, column, vocabulary=vocabulary)) is not None
        ]
        if not masks:
            return 0
        found = masks[0]
        for mask in masks[1:]:
            found = pc.or_(found, mask)
        return pc.sum(found).as_py() or 0

    @property
    def _raw_pattern(self) -> str:
        named = f'"{USER_ID}":"?{self._pattern}[",}}]'
        return f"{named}|{self._word_pattern}" if self.telling else named

    @property
    def _word_pattern(self) -> str:
        return f"(^|[^0-9A-Za-z]){self._pattern}([^0-9A-Za-z]|$)"

    def _mask(self, name: str, column: pa.Array, *, vocabulary: bool) -> pa.BooleanArray | None:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if name == USER_ID or vocabulary:
            return pc.fill_null(pc.equal(pc.cast(column, pa.string()), self.user_id), False)
        if pa.types.is_binary(column.type):
            return pc.fill_null(pc.equal(column, self.key), False)
        if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type) and self.telling:
            words = pc.match_substring_regex(pc.list_flatten(column), self._word_pattern)
            rows = pc.filter(pc.list_parent_indices(column), pc.fill_null(words, False))
            return pc.is_in(pa.array(range(len(column)), rows.type), value_set=rows)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            pattern = self._raw_pattern if name == RAW_ROW else self._word_pattern if self.telling else None
            return pattern and pc.fill_null(pc.match_substring_regex(column, pattern), False)
        return None


def _telling(user_id: str) -> bool:
    letter, other = any(map(str.isalpha, user_id)), any(c.isdigit() or c == "@" for c in user_id)
    return len(user_id) >= 16 or (len(user_id) >= 5 and letter and other) or (len(user_id) >= 9 and user_id.isdigit())


def _written(text: str, *, depth: int) -> set[str]:
    """A text as it stands in JSON, and in JSON that is text of other JSON, up to `depth` times."""
    forms = {text}
    for _ in range(depth):
        forms |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
