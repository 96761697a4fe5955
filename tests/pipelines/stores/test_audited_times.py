"""What audits saw of each entity is compared exactly, kept whole, and forgets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stores.audited_times import AuditedTimes, SetBack, erase_entity
from pipelines.stores.online_rows import NOTHING, OnlineRows


def run(file: Path, online: dict[bytes, int], audited: dict[bytes, int] | None = None) -> tuple[SetBack, SetBack]:
    """One audit: `online` is there before it, `audited` what it leaves; None is the same. Kept if none is back."""
    with AuditedTimes(file) as times:
        before = times.find(lambda keys: np.array([online.get(key, NOTHING) for key in keys.to_pylist()], np.int64))
        after = online if audited is None else audited
        us = np.array(list(after.values()), np.int64)
        times.add(OnlineRows(pa.array(list(after), pa.binary()), {}, us, us))
        back = times.still_back()
        if not back.num:
            times.keep()
    return before, back


def kept(file: Path) -> dict[bytes, int]:
    table = pq.read_table(file)
    return dict(zip(table["key"].to_pylist(), table["event_us"].to_pylist(), strict=True))


def test_every_entity_is_compared_in_any_order(tmp_path: Path) -> None:
    """More than a batch of entities, of which the last one went back by a microsecond."""
    times = {f"user {n}".encode(): 10**15 + n for n in range(12_000)}
    file = tmp_path / "it's a view.parquet"
    run(file, times)
    last = max(times)
    found = run(file, dict(reversed(times.items())) | {last: times[last] - 1})
    assert found == (SetBack(1, [last]), SetBack(1, [last]))
    assert kept(file) == times, "a failed audit leaves what was kept"


def test_who_is_gone_starts_anew_and_who_is_online_alone_stays(tmp_path: Path) -> None:
    file = tmp_path / "view.parquet"
    run(file, {b"gone": 9, b"alone": 9, b"both": 9})
    online = {b"alone": 11, b"both": 9}
    none = SetBack(0, [])
    assert run(file, online, {b"gone": 1, b"both": 9}) == (none, none)
    assert kept(file) == {b"gone": 1, b"alone": 11, b"both": 9}
    assert run(file, {b"alone": 10}, {}) == (SetBack(1, [b"alone"]), SetBack(1, [b"alone"]))


def test_a_time_that_goes_back_while_the_audit_runs_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "view.parquet"
    run(file, {b"a": 1})
    assert run(file, {b"a": 5}, {b"a": 4}) == (SetBack(0, []), SetBack(1, [b"a"]))


def test_an_entity_is_erased_from_files_and_from_what_a_killed_audit_left(tmp_path: Path) -> None:
    run(tmp_path / "view.parquet", {b"a": 1, b"b": 2})
    (tmp_path / "other.scratch").mkdir()
    (tmp_path / "other.scratch" / "after_run").write_bytes(b"a")
    erase_entity(tmp_path, b"a")
    assert kept(tmp_path / "view.parquet") == {b"b": 2}
    assert not list(tmp_path.rglob("*.scratch"))
