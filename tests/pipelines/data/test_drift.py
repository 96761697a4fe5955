"""New, missing and retyped raw columns: accepted, converted, set aside or refused, as the configuration says."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS, ValidatedPartition
from pipelines.data.drift import UNTYPED, find_drift
from pipelines.data.lake import Lake
from pipelines.data.schemas import EVENTS_SCHEMA
from pipelines.errors import DataContractError
from pipelines.steps.validate_partition import validate_partition
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.raw import AS_OF, as_text, stage, tables


def validated(folder: Path, events: pa.Table, **policies: Any) -> ValidatedPartition:
    raw = stage(folder / "staged", tables() | {EVENTS: events})
    config = ValidationConfig(max_quarantined_share=1.0, **policies)
    return validate_partition(
        raw, config=config, lake=Lake(folder / "lake"), artifacts=LocalArtifacts(folder / "runs"), as_of=AS_OF
    )


def new() -> pa.Table:
    """A column that came with this delivery; half of the rows have something in it."""
    return tables()[EVENTS].append_column("country", pa.array(["nl", None] * 20))


def missing() -> pa.Table:
    return tables()[EVENTS].drop_columns(["device"])


def retyped() -> pa.Table:
    """Values as text; one of them is no number."""
    events = tables()[EVENTS]
    return events.set_column(4, "value", pa.array(["3.5", None, *["4"] * 37, "good"]))


def listed() -> pa.Table:
    """Values of a type that nothing converts to a number."""
    return tables()[EVENTS].set_column(4, "value", pa.array([[1.0], None] * 20))


def accepted(partition: ValidatedPartition) -> pa.Table:
    return pq.read_table(Path(partition.uri) / "events.parquet")


def test_columns_as_agreed_are_no_drift(tmp_path: Path) -> None:
    assert validated(tmp_path, tables()[EVENTS], new_columns="stop", retyped_columns="stop").drift == ()


class TestNew:
    def test_accept_leaves_it_out_and_says_so(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, new(), new_columns="accept")
        assert partition.drift == ("new_column: column `country` of events is not of the contract",)
        assert accepted(partition).equals(tables()[EVENTS].cast(accepted(partition).schema))

    def test_quarantine_sets_rows_with_a_value_aside(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, new(), new_columns="quarantine")
        assert partition.num_quarantined == {"new_column": 20}
        assert json.loads(pq.read_table(partition.quarantine_uri)["raw_row"][0].as_py())["country"] == "nl"

    def test_stop_refuses_the_partition(self, tmp_path: Path) -> None:
        with pytest.raises(DataContractError, match=r"new_column: column `country` of events.*validation.new_columns"):
            validated(tmp_path, new(), new_columns="stop")


class TestMissing:
    def test_accept_takes_it_as_empty(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, missing(), missing_columns="accept")
        assert partition.drift == ("missing_column: column `device` of events is not there",)
        assert accepted(partition)["device"].null_count == 40

    def test_quarantine_sets_every_row_aside(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, missing(), missing_columns="quarantine")
        assert partition.num_quarantined == {"missing_column": 40}

    def test_stop_refuses_the_partition_and_is_the_default(self, tmp_path: Path) -> None:
        with pytest.raises(DataContractError, match="missing_column: column `device` of events is not there"):
            validated(tmp_path, missing())


class TestRetyped:
    def test_coerce_converts_what_can_be_and_is_the_default(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, retyped())
        assert partition.drift == ("retyped_column: column `value` of events has type text; expected number",)
        assert accepted(partition)["value"].to_pylist() == [3.5, None, *[4.0] * 37]
        assert partition.num_quarantined == {"bad_value": 1}

    def test_quarantine_sets_rows_with_a_value_aside(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, retyped(), retyped_columns="quarantine")
        assert partition.num_quarantined == {"retyped_column": 39}

    def test_quarantine_takes_types_that_nothing_converts(self, tmp_path: Path) -> None:
        partition = validated(tmp_path, listed(), retyped_columns="quarantine")
        assert partition.num_quarantined == {"retyped_column": 20}
        assert accepted(partition)["value"].null_count == 20

    @pytest.mark.parametrize(("events", "policy"), [(retyped(), "stop"), (listed(), "coerce")])
    def test_stop_refuses_the_partition_as_does_what_cannot_be_converted(
        self, tmp_path: Path, events: pa.Table, policy: str
    ) -> None:
        with pytest.raises(DataContractError, match=r"column `value`.* has type (text|list)"):
            validated(tmp_path, events, retyped_columns=policy)


def test_widths_units_and_encodings_are_no_other_type() -> None:
    events = tables()[EVENTS]
    schema = events.schema
    for name, kind in {
        "value": pa.decimal128(9, 2),
        "event_timestamp": pa.timestamp("ns"),
        "user_id": pa.dictionary(pa.int32(), pa.large_string()),
        "device": pa.null(),
    }.items():
        schema = schema.set(schema.get_field_index(name), pa.field(name, kind))
    drift = find_drift(schema, EVENTS_SCHEMA)
    assert (drift.new, drift.missing, drift.retyped) == ({}, {}, {})


def test_text_is_no_other_type_where_the_source_has_no_types() -> None:
    schema = as_text(tables()[EVENTS]).schema
    assert set(find_drift(schema, EVENTS_SCHEMA).retyped) == {"value", "event_timestamp", "ingested_at"}
    untyped = schema.with_metadata({UNTYPED: json.dumps(schema.names)})
    assert find_drift(untyped, EVENTS_SCHEMA).retyped == {}
