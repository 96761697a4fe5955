"""What every `ServedLog` does, wherever it keeps its records."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.config import REPOSITORY
from pipelines.stores.served import ServedLog

KEEP = timedelta(hours=1)
NAME = "tiny"


def record(event_id: str, **other: Any) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": "u", "item_id": "i", "event_type": "view", **other}


def ids(records: Any) -> list[str]:
    return [r["event_id"] for r in records]


def batch_ids(log: ServedLog, batch: Any) -> list[str]:
    return [r["event_id"] for chunk in log.read(batch) for r in chunk]


WRITER = """
import sys
{opening}
writer, acknowledged = sys.argv[1:]
with open(acknowledged, "w", buffering=1) as file:
    for number in range(100_000):
        record = {{"event_id": f"{{writer}}-{{number}}", "user_id": "u", "item_id": "i", "event_type": "view"}}
        log.append("tiny", [record])
        print(f"{{writer}}-{{number}}", file=file)
"""


class ServedLogContract:
    """`open_log()` returns another process's view of the same place; `opening` is Python that makes it, named `log`."""

    def test_records_are_stamped_with_their_arrival(self, open_log: Any) -> None:
        before = datetime.now(UTC)
        (plain,) = open_log().append(NAME, [record("a")])
        arrived = datetime.fromisoformat(plain["ingested_at"])
        assert before - timedelta(milliseconds=2) <= arrived <= datetime.now(UTC) + timedelta(milliseconds=2)
        assert plain["event_timestamp"] == plain["ingested_at"]

    def test_an_event_keeps_its_own_time_unless_that_is_after_its_arrival(self, open_log: Any) -> None:
        early, ahead = "2024-01-01T00:00:00.000000+00:00", "2999-01-01T00:00:00.000000+00:00"
        late, skewed = open_log().append(NAME, [record("a", event_timestamp=early), record("b", event_timestamp=ahead)])
        assert late["event_timestamp"] == early
        assert skewed["event_timestamp"] == skewed["ingested_at"]

    def test_a_batch_holds_everything_so_far_of_every_process_in_order(self, open_log: Any) -> None:
        one, two = open_log(), open_log()
        written = [log.append(NAME, [record(f"e{n}")])[0] for n, log in enumerate([one, two, one, two])]
        batch = open_log().claim(NAME, after=0)
        assert (batch.number, batch.name) == (1, NAME)
        assert batch_ids(one, batch) == ["e0", "e1", "e2", "e3"]
        assert [r for chunk in two.read(batch) for r in chunk] == written
        assert max(datetime.fromisoformat(r["ingested_at"]) for r in written) < batch.until

    def test_what_comes_after_a_claim_is_in_the_next_batch_and_after_its_end(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        first = log.claim(NAME, after=0)
        (after,) = log.append(NAME, [record("b")])
        assert datetime.fromisoformat(after["ingested_at"]) >= first.until
        assert batch_ids(log, first) == ["a"]
        log.release(first, keep=KEEP)
        second = log.claim(NAME, after=0)
        assert (second.number, batch_ids(log, second)) == (2, ["b"])

    def test_a_batch_stays_claimed_until_it_is_released(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        batch = log.claim(NAME, after=0)
        log.append(NAME, [record("b")])
        assert open_log().claim(NAME, after=7) == batch
        assert log.complete_until(NAME) is None
        log.release(batch, keep=KEEP)
        log.release(batch, keep=KEEP)
        assert log.complete_until(NAME) == batch.until

    def test_nothing_new_is_no_batch_but_moves_the_end(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        assert log.waiting(NAME)
        batch = log.claim(NAME, after=0)
        assert log.waiting(NAME)
        log.release(batch, keep=KEEP)
        assert not log.waiting(NAME)
        assert log.claim(NAME, after=0) is None
        assert log.complete_until(NAME) >= batch.until

    def test_a_number_used_elsewhere_is_not_used_again(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        assert log.claim(NAME, after=41).number == 42

    def test_releasing_another_batch_than_the_claimed_one_does_nothing(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        batch = log.claim(NAME, after=0)
        log.release(batch.model_copy(update={"number": 9}), keep=KEEP)
        assert log.claim(NAME, after=0) == batch

    def test_logs_of_other_names_are_apart(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        log.append("other", [record("b")])
        assert log.names() == ["other", NAME]
        assert batch_ids(log, log.claim("other", after=0)) == ["b"]

    def test_a_tail_reads_each_record_once_also_across_claims(self, open_log: Any) -> None:
        writer, reader = open_log(), open_log().tail()
        writer.append(NAME, [record("a"), record("b"), record("c")])
        assert [(n, r["event_id"]) for n, r in reader.recent(2)] == [(NAME, "b"), (NAME, "c")]
        assert reader.poll() == []
        writer.append(NAME, [record("d")])
        batch = writer.claim(NAME, after=0)
        assert ids(r for _, r in reader.poll()) == ["d"]
        writer.release(batch, keep=KEEP)
        writer.append(NAME, [record("e")])
        assert ids(r for _, r in reader.poll()) == ["e"]
        assert reader.poll() == []

    def test_released_records_are_still_there_for_a_process_that_starts(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a")])
        log.release(log.claim(NAME, after=0), keep=KEEP)
        assert ids(r for _, r in open_log().tail().recent(10)) == ["a"]

    def test_released_records_go_when_they_are_old(self, open_log: Any) -> None:
        log = open_log()
        for name in "abc":
            log.append(NAME, [record(name)])
            log.release(log.claim(NAME, after=0), keep=timedelta(0))
        log.append(NAME, [record("d")])
        left = ids(r for _, r in open_log().tail().recent(10))
        assert left[-1] == "d"
        assert "a" not in left

    def test_records_of_one_user_are_erased_and_everyone_else_goes_on(self, open_log: Any) -> None:
        log, reader = open_log(), open_log().tail()
        log.append(NAME, [record("a"), record("b", user_id="v"), record("c")])
        batch = open_log().claim(NAME, after=0)
        log.append(NAME, [record("d", user_id="v"), record("e")])
        assert ids(r for _, r in reader.poll()) == ["a", "b", "c", "d", "e"]

        def belongs(found: dict[str, Any]) -> bool:
            return bool(found["user_id"] == "v")

        assert open_log().count(NAME, belongs) == 2
        open_log().erase(NAME, belongs)
        open_log().erase(NAME, belongs)
        assert open_log().count(NAME, belongs) == 0
        log.append(NAME, [record("f")])
        assert ids(r for _, r in reader.poll()) == ["f"], "what was read is not read again, nor anything passed over"
        assert open_log().claim(NAME, after=0) == batch
        assert batch_ids(log, batch) == ["a", "c"]
        log.release(batch, keep=KEEP)
        second = log.claim(NAME, after=1)
        assert batch_ids(log, second) == ["e", "f"]
        assert ids(r for _, r in open_log().tail().recent(9)) == ["a", "c", "e", "f"]

    def test_a_log_of_which_all_was_erased_waits_for_nothing(self, open_log: Any) -> None:
        log = open_log()
        log.append(NAME, [record("a"), record("b")])
        batch = log.claim(NAME, after=0)
        log.release(batch, keep=KEEP)
        log.erase(NAME, lambda found: True)
        assert not log.waiting(NAME)
        assert log.claim(NAME, after=0) is None
        log.append(NAME, [record("c")])
        assert batch_ids(log, log.claim(NAME, after=0)) == ["c"]

    def test_drains_beside_writers_that_are_killed_lose_and_repeat_nothing(
        self, open_log: Any, opening: str, tmp_path: Path
    ) -> None:
        """Three processes write as fast as they can while batches are claimed; then `kill -9`."""
        files = [tmp_path / f"acknowledged-{n}" for n in range(3)]
        command = [sys.executable, "-c", WRITER.format(opening=opening)]
        writers = [subprocess.Popen([*command, str(n), str(file)], cwd=REPOSITORY) for n, file in enumerate(files)]
        log, ends, found = open_log(), list[str](), list[str]()
        deadline = time.monotonic() + 60
        while (len(found) < 500 or len(ends) < 4) and time.monotonic() < deadline:
            _drain(log, ends, found)
        for writer in writers:
            writer.kill()
            writer.wait()
        _drain(log, ends, found)
        acknowledged = {line for file in files for line in file.read_text().split()}
        assert len(ends) > 3
        assert len(found) == len(set(found)), "an event is in two batches"
        assert acknowledged <= set(found), "an acknowledged event is in no batch"
        assert len(set(found) - acknowledged) <= 3, "at most the one each was writing"


def _drain(log: ServedLog, ends: list[str], found: list[str]) -> None:
    """Claim and release what waits; the batch's end and its events are added to those of earlier ones."""
    batch = log.claim(NAME, after=0)
    if batch is not None:
        stamps = [r["ingested_at"] for chunk in log.read(batch) for r in chunk]
        assert stamps == sorted(stamps)
        assert not ends or not stamps or stamps[0] >= ends[-1], "stamped before the end of an earlier batch"
        ends.append(batch.until.isoformat(timespec="microseconds"))
        found.extend(batch_ids(log, batch))
        log.release(batch, keep=KEEP)
