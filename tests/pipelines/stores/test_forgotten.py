"""The list of the forgotten knows whom it must not let in again, and names nobody."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import FORGOTTEN_LOG, UNASSIGNED, open_served

AT = datetime(2025, 1, 2, tzinfo=UTC)


def opened(home: Path) -> ForgottenUsers:
    return ForgottenUsers(open_served("files", FORGOTTEN_LOG, home=home))


def test_a_user_is_known_again_by_every_process_and_after_a_restart(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    assert not one.has("tiny", "zoe")
    digest = one.add("tiny", "zoe", at=AT)
    assert not other.has("tiny", "zoe")
    assert other.refresh()
    assert not other.refresh()
    for forgotten in (one, other, opened(tmp_path)):
        assert forgotten.has("tiny", "zoe")
        assert forgotten.has(UNASSIGNED, "zoe"), "before serving knows a data set, it could be this one"
        assert not forgotten.has("tiny", "zo")
        assert not forgotten.has("other", "zoe"), "another data set has another zoe"
        assert forgotten.add("tiny", "zoe", at=AT) == digest


def test_nothing_on_disk_names_the_user_and_digests_depend_on_the_key(tmp_path: Path) -> None:
    digests = [opened(tmp_path / home).add("tiny", "zoe", at=AT) for home in ("a", "b")]
    assert digests[0] != digests[1]
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"zoe" not in content
    assert digests[0].encode() in content


def test_two_first_entries_at_once_are_both_kept(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.add("tiny", "zoe", at=AT)
    other.add("tiny", "max", at=AT)  # has not seen the key of the first
    third = opened(tmp_path)
    assert third.has("tiny", "zoe")
    assert third.has("tiny", "max")


@pytest.mark.parametrize("users", [["7", None, "8", "7"], [7, None, 8, 7]])
def test_rows_of_the_forgotten_are_left_out(tmp_path: Path, users: list[object]) -> None:
    forgotten = opened(tmp_path)
    batch = pa.record_batch({"user_id": users, "n": [0, 1, 2, 3]})
    assert forgotten.without("tiny", batch) is batch
    forgotten.add("tiny", "7", at=AT)
    assert forgotten.without("tiny", batch).column("n").to_pylist() == [1, 2]
    assert forgotten.without("other", batch) is batch
    items = pa.record_batch({"item_id": ["7"]})
    assert forgotten.without("tiny", items) is items
