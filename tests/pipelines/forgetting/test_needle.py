"""Ids are found wherever they stand, and only where they mean the user."""

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.forgetting.files import blank, holds, spans_in
from pipelines.forgetting.needle import Needle

AWKWARD = 'o\'neil "x" [é]\\^.'


@pytest.mark.parametrize(
    "text",
    ['{"user_id": "7"}', r'{"add":{"stats":"{\"minValues\":{\"user_id\":\"7\"}}"}}', "event e1 of user 7 and item 3",
     "user_id = '7'", '{"user_id":7,"item_id":1}', "GET /v1/explanations?user_id=7&item_id=3",
     '{"sample_users": ["3", "7", "9"]}'],
)  # fmt: skip
def test_a_short_id_counts_where_the_text_says_user(text: str) -> None:
    assert Needle("7").within(text.encode())


@pytest.mark.parametrize(
    "text",
    ['{"item_id": "7"}', '{"user_id": "77"}', '{"num_users": 7}', "version 7", '{"user_id":"1","item_id":"7"}',
     '{"sample_users": ["77"], "seed": 7}'],
)  # fmt: skip
def test_a_short_id_counts_nowhere_else(text: str) -> None:
    assert not Needle("7").within(text.encode())


def test_a_byte_of_a_binary_file_is_no_id() -> None:
    assert not Needle("7").within(b"\x0a\x07user_id\x12\x027\x01")


def test_a_telling_id_counts_as_a_word_anywhere() -> None:
    needle = Needle("zoe-7")
    assert needle.telling
    assert needle.within(b"whatever\x00zoe-7\x01")
    assert not needle.within(b"zoe-77 xzoe-7")
    telling = {
        "12345678": False,
        "123456789": True,
        "admin": False,
        "zoe@x": True,
        "u7": False,
        "x" * 16: True,
    }
    assert {user: Needle(user).telling for user in telling} == telling


@pytest.mark.parametrize("text", [json.dumps(AWKWARD), json.dumps(json.dumps(json.dumps(AWKWARD)))])
def test_an_id_is_found_in_json_within_json(text: str) -> None:
    assert Needle(AWKWARD).within(f'{{"x": {text}}}'.encode())


def test_feasts_key_is_found_and_not_that_of_a_longer_id(tmp_path: Path) -> None:
    def database(name: str, user: str) -> Path:
        path = tmp_path / name
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE online (entity_key BLOB, feature_name TEXT)")
            connection.execute("INSERT INTO online VALUES (?, 'num')", (Needle(user).key,))
        return path

    assert holds(database("own.db", "7"), Needle("7"))
    assert not holds(database("other.db", "77"), Needle("7"))


def test_columns_are_searched_for_what_they_mean(tmp_path: Path) -> None:
    def file(name: str, **columns: list[object]) -> Path:
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    short, telling = Needle("7"), Needle("zoe-7")
    assert holds(file("events.parquet", user_id=["1", "7"]), short)
    assert holds(file("staged.parquet", user_id=[1, 7]), short)
    assert not holds(file("items.parquet", item_id=["7"]), short)
    assert holds(file("quarantine.parquet", raw_row=[None, '{"event_id":"e","user_id":"7","x":1}']), short)
    assert holds(file("quarantine.parquet", raw_row=['{"user_id":7}']), short)
    assert not holds(file("quarantine.parquet", raw_row=['{"user_id":"77","item_id":"7"}']), short)
    assert holds(file("user.parquet", value=["7"]), short), "a model's vocabulary"
    assert not holds(file("item.parquet", value=["7"]), short)
    assert holds(file("other.parquet", note=["by zoe-7."], tags=[["a"]]), telling)
    assert holds(file("other.parquet", note=["a"], tags=[["a", "zoe-7"]]), telling)
    assert not holds(file("other.parquet", note=["zoe-77"], tags=[["zoe-71"]]), telling)


def test_rows_are_counted_once_and_nulls_are_none() -> None:
    batch = pa.record_batch(
        {"user_id": ["zoe-7", None, "b"], "note": ["zoe-7", None, "for zoe-7"], "tags": [["zoe-7", "zoe-7"], None, []]}
    )
    assert Needle("zoe-7").rows(batch) == 2


def test_half_a_file_is_searched_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"PAR1 half of it, user_id: zoe-7 ")
    assert holds(path, Needle("zoe-7"))
    assert not holds(tmp_path / "gone.parquet", Needle("zoe-7"))


def test_a_log_keeps_its_length_when_an_id_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "serving.log"
    path.write_bytes(b"user 7 asked\nuser 77 asked\n")
    with path.open("ab") as writer:
        blank(path, Needle("7"))
        writer.write(b"next\n")
    assert path.read_bytes() == b"user - asked\nuser 77 asked\nnext\n"
    assert spans_in(path, Needle("7")) == []
