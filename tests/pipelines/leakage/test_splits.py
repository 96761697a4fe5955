"""Parts of a training set that are not apart are found."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.leakage.splits import later_parts_come_later, no_event_in_two_parts, split_by_time
from tests.support.leakage import Built, set_column

Parts = dict[str, pa.Table]


def test_clean_parts_pass(clean: Built) -> None:
    evidence = clean.evidence()
    for check in (split_by_time, later_parts_come_later, no_event_in_two_parts):
        assert check(evidence).findings == ()
        assert check(evidence).num_checked == 300


def test_a_random_split_is_found(tmp_path: Path, clean: Built) -> None:
    def shuffle(parts: Parts) -> Parts:
        rows = pa.concat_tables(parts.values())
        rows = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)))
        return {"train": rows.slice(0, 210), "validation": rows.slice(210, 30), "test": rows.slice(240)}

    evidence = clean.doctored(tmp_path / "set", shuffle).evidence()
    assert len(split_by_time(evidence).findings) == 3
    found = later_parts_come_later(evidence).findings
    assert {finding.feature for finding in found} == {"user_id", "item_id"}
    assert "test begins" in found[1].example


def test_leave_one_out_is_found(tmp_path: Path, clean: Built) -> None:
    """Each user's last label as test: apart for every user, but items' test rows precede their train rows."""

    def last_of_each(parts: Parts) -> Parts:
        rows = pa.concat_tables(parts.values())
        users = rows["user_id"].to_pylist()
        last = {user: n for n, user in enumerate(users)}
        held = np.isin(np.arange(len(users)), list(last.values()))
        return parts | {"train": rows.filter(pa.array(~held)), "test": rows.filter(pa.array(held))}

    evidence = clean.doctored(tmp_path / "set", last_of_each).evidence()
    assert split_by_time(evidence).findings
    assert "item_id" in {finding.feature for finding in later_parts_come_later(evidence).findings}


def test_an_event_in_two_parts_is_found(tmp_path: Path, clean: Built) -> None:
    def repeat(parts: Parts) -> Parts:
        return parts | {"test": pa.concat_tables([parts["train"].slice(5, 1), parts["test"]])}

    first, second = no_event_in_two_parts(clean.doctored(tmp_path / "set", repeat).evidence()).findings
    assert first.feature == "event_id"
    assert "test and train" in first.example
    assert second.feature == "user_id, item_id, event_timestamp"


def test_a_copy_under_another_id_is_found(tmp_path: Path, clean: Built) -> None:
    def copy(parts: Parts) -> Parts:
        row = set_column(parts["train"].slice(5, 1), "event_id", pa.array(["copied"]))
        return parts | {"test": pa.concat_tables([row, parts["test"]])}

    (finding,) = no_event_in_two_parts(clean.doctored(tmp_path / "set", copy).evidence()).findings
    assert finding.feature == "user_id, item_id, event_timestamp"
