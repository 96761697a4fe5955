from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.config import REPOSITORY, SourceConfig
from pipelines.data.drift import find_drift
from pipelines.data.schemas import EVENTS_SCHEMA
from pipelines.errors import ConfigError, SourceError
from pipelines.sources.base import open_source
from pipelines.sources.mapping import load_mapping

EVENTS = "userId,itemId,time,rating\nu1,i1,1700000000,4\nu1,i2,1700000100,abc\nu2,i1,oops,3.5\nu2,i3,1700086500,\n"
ITEMS = 'itemId,name,description,genres\ni1,"One, two",x,A| B\ni2,Two,,\n'
USERS = "userId,gender,age\nu1,F,25\nu2,,30\n"
EXAMPLE = REPOSITORY / "configs" / "mapping.example.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("events", EVENTS), ("items", ITEMS), ("users", USERS)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def read(
    folder: Path, mapping: Path | dict[str, Any] = EXAMPLE, *, kind: str = "csv", partition: str = "all"
) -> dict[str, list[dict[str, Any]]]:
    if isinstance(mapping, dict):
        (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping))
        mapping = folder / "mapping.yaml"
    config = SourceConfig.model_validate({"kind": kind, "path": folder, "mapping": mapping})
    tables = open_source(config, seed=0, home=folder).read(partition)
    return {name: getattr(tables, name).read_all().to_pylist() for name in ("events", "items", "users")}


def events_only(**changes: Any) -> dict[str, Any]:
    columns = {"user_id": "userId", "item_id": "itemId", "event_timestamp": "time", "value": "rating"}
    return {"events": {"file": "events.csv", "columns": columns, "timestamp_unit": "s"} | changes}


def test_the_example_reads_what_it_describes(folder: Path) -> None:
    found = read(folder)
    first = found["events"][0]
    assert first["event_id"] == "000000001-u1-i1"
    assert first["event_type"] == "rating"
    assert first["event_timestamp"] == first["ingested_at"] == "2023-11-14T22:13:20.000000Z"
    assert found["items"][0]["categories"] == ["A", "B"]
    assert found["items"][0]["title"] == "One, two"
    assert found["items"][0]["updated_at"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert [row["attributes"] for row in found["users"]] == [["gender=F", "age_group=25"], ["age_group=30"]]


def test_what_cannot_be_read_stays_as_it_is_for_validation(folder: Path) -> None:
    rows = read(folder)["events"]
    assert len(rows) == 4
    assert rows[1]["value"] == "abc"
    assert rows[2]["event_timestamp"] == "oops"


def test_without_items_and_users_they_are_the_ids_in_the_events(folder: Path) -> None:
    found = read(folder, events_only())
    assert [(row["item_id"], row["title"], row["categories"]) for row in found["items"]] == [
        ("i1", "i1", []),
        ("i2", "i2", []),
        ("i3", "i3", []),
    ]
    assert [row["updated_at"].isoformat() for row in found["users"]] == [
        "2023-11-14T22:13:20+00:00",
        "2023-11-15T22:15:00+00:00",
    ]


def test_slices_take_events_by_arrival_and_keep_their_ids(folder: Path) -> None:
    early, late = (read(folder, partition=p)["events"] for p in ("2023-11-14/2023-11-15", "2023-11-15/2023-11-16"))
    assert [row["event_id"] for row in early] == ["000000001-u1-i1", "000000002-u1-i2", "000000003-u2-i1"]
    assert [row["event_id"] for row in late] == ["000000003-u2-i1", "000000004-u2-i3"], (
        "unreadable arrivals are in both"
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("1700000000123", {"timestamp_unit": "ms"}),
        ("1700000000123000", {"timestamp_unit": "us"}),
        ("2023-11-14 22:13:20.123", {}),
        ("14/11/2023 22:13:20.123", {"timestamp_format": "%d/%m/%Y %H:%M:%S.%f"}),
    ],
)
def test_times_are_read_in_any_notation(folder: Path, text: str, options: dict[str, str]) -> None:
    (folder / "events.csv").write_text(f"userId,itemId,time,rating\nu,i,{text},1\n")
    (found,) = read(
        folder,
        events_only(timestamp_unit=None) | {"events": {**events_only()["events"], "timestamp_unit": None, **options}},
    )["users"]
    assert found["updated_at"] == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


def test_other_delimiters_encodings_and_marks_are_read(folder: Path) -> None:
    (folder / "events.csv").write_bytes("userId;itemId;time;rating\nJosé;i;1700000000;1\n".encode("latin-1"))
    assert read(folder, events_only(delimiter=";", encoding="latin-1"))["events"][0]["user_id"] == "José"
    (folder / "events.csv").write_bytes(b"\xef\xbb\xbfuserId,itemId,time,rating\r\nu,i,1700000000,1\r\n")
    assert read(folder, events_only())["events"][0]["user_id"] == "u"


def test_parquet_keeps_its_types_and_many_files_are_one(tmp_path: Path) -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    table = pa.table(
        {"u": [1], "i": [2], "t": pa.array([moment], pa.timestamp("ns", "UTC")), "r": [4.5], "tags": [["A", "B"]]}
    )
    (tmp_path / "events").mkdir()
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / "events" / f"{name}.parquet")
    columns = {"user_id": "u", "item_id": "i", "event_timestamp": "t", "value": "r"}
    items = {"file": "events/a.parquet", "columns": {"item_id": "i", "categories": "tags"}}
    found = read(tmp_path, {"events": {"file": "events/*.parquet", "columns": columns}, "items": items}, kind="parquet")
    assert [row["event_id"] for row in found["events"]] == ["000000001-1-2", "000000002-1-2"]
    assert found["events"][0]["value"] == 4.5
    assert found["items"][0]["categories"] == ["A", "B"]
    assert found["users"][0]["updated_at"] == moment


def test_a_column_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    mapping = events_only()
    mapping["events"]["columns"]["user_id"] = "customer"
    with pytest.raises(
        ConfigError, match=r"events.columns.user_id names column 'customer'.*it has userId, itemId, time, rating"
    ):
        read(folder, mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"events": {"file": "e.csv", "columns": {"user_id": "u"}}}, "item_id, event_timestamp must be mapped"),
        (
            events_only() | {"events": {**events_only()["events"], "columns": {"user": "u"}}},
            "user is not a column of Tandem's",
        ),
        (events_only(timestamp_format="%Y"), "timestamp_unit and timestamp_format exclude each other"),
        (events_only(delimeter=";"), "events.delimeter: Extra inputs are not permitted"),
        ({"items": {"file": "i", "columns": {"item_id": "i"}}}, "events: Field required"),
    ],
)
def test_a_bad_mapping_is_refused_by_key(folder: Path, mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(folder, mapping)


def test_a_missing_or_broken_mapping_file_is_refused(tmp_path: Path) -> None:
    for path in (None, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match=r"configs/mapping.example.yaml"):
            load_mapping(path)
    (tmp_path / "bad.yaml").write_text("events: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_mapping(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "userId,itemId,time,rating\nu1,i1,1700000000,4\nu1,i1\n",
            "CSV Error on Line: 3.*Expected Number of Columns: 4",
        ),
        ('userId,itemId,time,rating\nu1,"i1,1700000000,4\n', "unterminated quote"),
        ("userId,itemId,time,userId\n", "has column userId twice"),
        ("", "is empty"),
    ],
)
def test_a_broken_csv_is_refused_with_its_place(folder: Path, text: str, message: str) -> None:
    (folder / "events.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read(folder)


def test_a_file_that_is_not_there_is_named_with_what_is(folder: Path) -> None:
    with pytest.raises(
        SourceError, match=r"events.file 'other.csv' matches nothing in .*; it has events.csv, items.csv"
    ):
        read(folder, events_only(file="other.csv"))


def test_a_file_that_is_no_parquet_is_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"events file 'events.csv' is not readable parquet"):
        read(folder, events_only(), kind="parquet")


class TestColumnsOfTheFile:
    """What the mapping does not name is staged for validation; what it names and the file lacks is not."""

    def test_unmapped_columns_are_staged_under_their_own_names(self, folder: Path) -> None:
        (folder / "events.csv").write_text("userId,itemId,time,rating,country,value\nu1,i1,1700000000,4,nl,x\n")
        (row,) = read(folder, events_only())["events"]
        assert (row["value"], row["country"], row["file.value"]) == ("4", "nl", "x")

    @pytest.mark.parametrize("ignore", [["country"], ["*"]])
    def test_ignored_columns_are_left_alone(self, folder: Path, ignore: list[str]) -> None:
        (folder / "events.csv").write_text("userId,itemId,time,rating,country\nu1,i1,1700000000,4,nl\n")
        (row,) = read(folder, events_only(ignore=ignore))["events"]
        assert "country" not in row

    def test_an_optional_column_that_is_gone_is_not_staged(self, folder: Path) -> None:
        (folder / "events.csv").write_text("userId,itemId,time\nu1,i1,1700000000\n")
        (row,) = read(folder, events_only(ignore=["*"]))["events"]
        assert "value" not in row
        assert row["device"] is None

    def test_a_required_column_that_is_gone_is_named(self, folder: Path) -> None:
        (folder / "events.csv").write_text("userId,time,rating\nu1,1700000000,4\n")
        with pytest.raises(ConfigError, match=r"names column 'itemId', which events\.csv does not have; it has userId"):
            read(folder, events_only())

    @pytest.mark.parametrize(("kind", "untyped"), [("csv", True), ("parquet", False)])
    def test_csv_says_that_its_types_mean_nothing(self, tmp_path: Path, kind: str, untyped: bool) -> None:
        rows = pa.table({"userId": ["u"], "itemId": ["i"], "time": [1_700_000_000], "rating": ["4"]})
        pq.write_table(rows, tmp_path / "events.parquet")
        (tmp_path / "events.csv").write_text("userId,itemId,time,rating\nu,i,1700000000,4\n")
        (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(events_only(file=f"events.{kind}")))
        settings = {"kind": kind, "path": tmp_path, "mapping": tmp_path / "mapping.yaml"}
        events = open_source(SourceConfig.model_validate(settings), seed=0, home=tmp_path).read("all").events
        found = find_drift(events.schema, EVENTS_SCHEMA).retyped
        assert found == ({} if untyped else {"value": "has type text; expected number"})
