import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS, ITEMS, ValidatedPartition
from pipelines.data.lake import Lake
from pipelines.errors import DataContractError
from pipelines.steps.append_partition import append_partition
from pipelines.steps.validate_partition import validate_partition
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.raw import AS_OF, START, as_text, event, item, stage, tables, with_events

LENIENT = ValidationConfig(max_quarantined_share=0.5)


class Bench:
    """One data set's lake and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.artifacts, self.lake = folder, LocalArtifacts(folder / "runs"), Lake(folder / "lake")

    def validate(
        self,
        partition: dict[str, pa.Table],
        *,
        name: str = "all",
        key: str = "00000000000000a1",
        config: ValidationConfig = LENIENT,
    ) -> ValidatedPartition:
        raw = stage(self.folder / "staged", partition, name=name, key=key)
        return validate_partition(raw, config=config, lake=self.lake, artifacts=self.artifacts, as_of=AS_OF)

    def ingest(self, partition: dict[str, pa.Table], **named: Any) -> None:
        append_partition(self.validate(partition, **named), lake=self.lake, artifacts=self.artifacts)

    @property
    def published(self) -> Path:
        """The one validated folder."""
        (folder,) = (self.folder / "runs/tiny/validate_partition").iterdir()
        return folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def quarantined(validated: ValidatedPartition) -> list[dict[str, Any]]:
    return pq.read_table(validated.quarantine_uri).to_pylist()


def test_good_rows_pass_in_their_order(bench: Bench) -> None:
    partition = tables()
    validated = bench.validate(partition, config=ValidationConfig())
    assert validated.num_accepted == {"events": 40, "items": 4, "users": 3}
    assert validated.num_quarantined == {}
    accepted = pq.read_table(Path(validated.uri) / "events.parquet")
    assert accepted.to_pylist() == partition[EVENTS].to_pylist()


def test_text_as_csv_delivers_it_gives_the_same_rows(bench: Bench) -> None:
    partition = tables()
    validated = bench.validate({name: as_text(rows) for name, rows in partition.items()}, config=ValidationConfig())
    assert pq.read_table(Path(validated.uri) / "events.parquet").to_pylist() == partition[EVENTS].to_pylist()


BAD_EVENTS = {
    "missing_event_id": {"event_id": None},
    "missing_user_id": {"user_id": ""},
    "missing_item_id": {"item_id": None},
    "missing_event_type": {"event_type": None},
    "bad_event_timestamp": {"event_timestamp": None},
    "bad_ingested_at": {"ingested_at": None},
    "bad_value": {"value": float("nan")},
    "event_before_1970": {"event_timestamp": START.replace(year=1969)},
    "future_event": {"event_timestamp": AS_OF + timedelta(days=1), "ingested_at": AS_OF + timedelta(days=2)},
    "future_arrival": {"ingested_at": AS_OF + timedelta(seconds=1)},
    "event_after_arrival": {"ingested_at": START - timedelta(days=1)},
    "value_out_of_range": {"value": 1e13},
    "duplicate_event_id": {"event_id": "e00000"},
    "unknown_item": {"item_id": "nowhere"},
    "unknown_user": {"user_id": "nobody"},
}


def test_a_bad_event_is_quarantined_under_its_rule_with_its_raw_row(bench: Bench) -> None:
    bad = {rule: event(1000 + number) | broken for number, (rule, broken) in enumerate(BAD_EVENTS.items())}
    validated = bench.validate(with_events(list(bad.values())))
    assert validated.num_quarantined == dict.fromkeys(BAD_EVENTS, 1)
    assert validated.num_accepted["events"] == 40
    rows = {row["rule"]: row for row in quarantined(validated)}
    for rule, row in rows.items():
        assert (row["table"], row["partition"], row["quarantined_at"]) == ("events", "all", AS_OF)
        raw = json.loads(row["raw_row"])
        assert [raw[name] for name in ("event_id", "item_id")] == [bad[rule][name] for name in ("event_id", "item_id")]


def test_text_that_is_no_number_or_no_time_is_quarantined_as_it_came(bench: Bench) -> None:
    partition = {name: as_text(rows) for name, rows in with_events([event(900), event(901)]).items()}
    events = partition[EVENTS].to_pylist()
    events[-2]["value"], events[-1]["event_timestamp"] = "five", "yesterday"
    partition[EVENTS] = pa.Table.from_pylist(events, schema=partition[EVENTS].schema)
    validated = bench.validate(partition)
    assert validated.num_quarantined == {"bad_value": 1, "bad_event_timestamp": 1}
    raw = [json.loads(row["raw_row"]) for row in quarantined(validated)]
    assert [raw[0]["value"], raw[1]["event_timestamp"]] == ["five", "yesterday"]


def test_an_event_of_a_quarantined_item_is_quarantined_too(bench: Bench) -> None:
    partition = tables()
    items = [item(0, title=None), *(item(number) for number in (1, 2, 3))]
    partition[ITEMS] = pa.Table.from_pylist(items)
    assert bench.validate(partition).num_quarantined == {"missing_title": 1, "unknown_item": 10}


def test_an_item_or_user_of_an_earlier_partition_is_known(bench: Bench) -> None:
    bench.ingest(tables(), name="2025-01-01/2025-01-02")
    later = tables(first=2000)
    later[ITEMS] = later[ITEMS].slice(0, 1)
    validated = bench.validate(later, name="2025-01-02/2025-01-03", key="00000000000000b1")
    assert validated.num_quarantined == {}


def test_an_event_of_another_partition_is_a_duplicate_but_ones_own_is_not(bench: Bench) -> None:
    bench.ingest(tables(), name="2025-01-01/2025-01-02")
    again = bench.validate(tables(), name="2025-01-01/2025-01-02", key="00000000000000a2")
    assert again.num_quarantined == {}
    other = bench.validate(
        with_events([event(number) for number in range(2000, 2100)]), name="all", key="00000000000000b1"
    )
    assert other.num_quarantined == {"duplicate_event_id": 40}


def test_too_many_quarantined_rows_stop_the_partition_and_nothing_is_lost(bench: Bench) -> None:
    bad = [event(number, item_id="nowhere") for number in range(1000, 1010)]
    with pytest.raises(DataContractError) as caught:
        bench.validate(with_events(bad), config=ValidationConfig())
    message = str(caught.value)
    for told in (
        "too_many_quarantined_events",
        "0.2",
        "at most 0.05",
        "unknown_item, 10 rows",
        "nowhere",
        "report.html",
    ):
        assert told in message
    assert "\n" not in message
    assert pq.read_table(bench.published / "quarantine.parquet").num_rows == 10
    assert pq.read_table(bench.published / "events.parquet").num_rows == 40
    assert bench.lake.versions() == {}


def test_the_report_names_the_rules_and_what_was_observed(bench: Bench) -> None:
    validated = bench.validate(with_events([event(1000, item_id="nowhere")]))
    docs = Path(validated.docs_uri).parent
    assert Path(validated.docs_uri).name == "report.html"
    (events,) = (docs / "validations/events").rglob("*.html")
    (partition,) = (docs / "validations/partition").rglob("*.html")
    assert "unknown_item: " in events.read_text()
    assert (docs / "static/images/favicon.ico").is_file(), "what its pages name stays"
    assert sum(file.stat().st_size for file in docs.rglob("*")) < 500_000, "4 MB of it belong to no page"
    assert "too_many_quarantined_events: few rows of events break a rule; observed 0.0243902" in partition.read_text()


def test_a_refused_partition_is_refused_again_from_what_was_published(bench: Bench) -> None:
    raw = stage(bench.folder / "staged", with_events([event(1000, item_id="x")], num_good=3))

    def refuse() -> str:
        with pytest.raises(DataContractError) as caught:
            validate_partition(raw, config=ValidationConfig(), lake=bench.lake, artifacts=bench.artifacts, as_of=AS_OF)
        return str(caught.value)

    first = refuse()
    written = bench.published.stat().st_mtime_ns
    assert refuse() == first
    assert bench.published.stat().st_mtime_ns == written


def test_a_missing_column_is_named_with_those_that_are_there(bench: Bench) -> None:
    partition = tables()
    partition[EVENTS] = partition[EVENTS].drop_columns(["user_id"])
    with pytest.raises(DataContractError, match=r"events: column `user_id` is missing \(there: event_id, item_id"):
        bench.validate(partition)
    assert (bench.published / "docs/report.html").is_file()
    assert pq.read_table(bench.published / "quarantine.parquet").num_rows == 0


def test_a_column_of_a_wrong_type_is_named(bench: Bench) -> None:
    partition = tables()
    numbers = pa.array(range(40), pa.float64())
    partition[EVENTS] = partition[EVENTS].set_column(5, "event_timestamp", numbers)
    with pytest.raises(
        DataContractError, match="`event_timestamp` has type double, which cannot be converted to timestamp"
    ):
        bench.validate(partition)


def test_an_optional_column_may_be_missing(bench: Bench) -> None:
    partition = tables()
    partition[EVENTS] = partition[EVENTS].drop_columns(["session_id", "device", "value"])
    validated = bench.validate(partition, config=ValidationConfig(missing_columns="accept"))
    assert pq.read_table(Path(validated.uri) / "events.parquet")["device"].null_count == 40


def test_an_empty_partition_is_refused(bench: Bench) -> None:
    with pytest.raises(DataContractError, match=r"too_few_events.*observed 0, expected at least 1"):
        bench.validate(tables(0))


def test_volume_unlike_the_lakes_is_refused(bench: Bench) -> None:
    bench.ingest(tables(40), name="2025-01-01/2025-01-02")
    with pytest.raises(DataContractError, match=r"unusual_volume.*observed 25, expected .* at most 20"):
        bench.validate(tables(1000, first=2000), name="2025-01-02/2025-01-03", key="00000000000000b1")


def test_values_unlike_the_lakes_are_refused(bench: Bench) -> None:
    bench.ingest(tables(40), name="2025-01-01/2025-01-02")
    other = tables(40, first=2000)
    hundredfold = pa.compute.multiply(other[EVENTS]["value"], 100.0)
    other[EVENTS] = other[EVENTS].set_column(4, other[EVENTS].schema.field("value"), hundredfold)
    with pytest.raises(DataContractError, match="value_shift"):
        bench.validate(other, name="2025-01-02/2025-01-03", key="00000000000000b1")


def test_validation_touches_nothing_outside_its_folder(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(elsewhere))
    monkeypatch.chdir(elsewhere)
    bench.validate(tables())
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in bench.published.iterdir()} == {
        "events.parquet", "items.parquet", "users.parquet", "quarantine.parquet", "docs", "verdict.json",
    }  # fmt: skip
