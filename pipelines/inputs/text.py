"""Titles to tokens: lower-cased runs of letters and digits, in Arrow, without a loop over rows."""

import pyarrow as pa
import pyarrow.compute as pc

_EMPTY = ("the", "a", "an", "of", "and", "in", "to", "for", "on", "at", "with", "by")


def tokenize(texts: pa.Array) -> pa.Array:
    """Return the tokens of each text, `list<string>` `[num_rows]`; a null text has none.

    Function words are dropped; a year such as `(1995)` is a token.
    """
    words = pc.replace_substring_regex(pc.utf8_lower(pc.fill_null(texts, "")), r"[^\p{L}\p{N}]+", " ")
    words = pc.replace_substring_regex(words, rf"\b({'|'.join(_EMPTY)})\b", " ")
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(words, r" {2,}", " "))
    split = pc.split_pattern(words, " ")
    return pc.if_else(pc.equal(words, ""), pa.scalar([], type=split.type), split)
