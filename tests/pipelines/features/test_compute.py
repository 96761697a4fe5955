"""Raw tables as the transformations see them."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.contracts import EVENTS
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.features.compute import connect, raw_table, run
from tests.support.feature_data import SHORT, START, Workspace, event


@pytest.mark.parametrize("first", ["older", "newer"])
def test_files_of_before_a_column_was_added_have_nulls_in_it(tmp_path: Path, first: str) -> None:
    workspace = Workspace(tmp_path)
    newer = pa.Table.from_pylist([event(1, "u", "i", START, device="tv")], LAKE_SCHEMAS[EVENTS])
    older = pa.Table.from_pylist([event(2, "u", "i", START)], LAKE_SCHEMAS[EVENTS]).drop_columns(["device"])
    for table in (older, newer) if first == "older" else (newer, older):
        write_deltalake(workspace.lake.uri(EVENTS), table, mode="append", schema_mode="merge")
    connection = connect(SHORT, tmp_path / "scratch")
    events = raw_table(connection, workspace.lake, workspace.snapshot(), EVENTS)
    found = run(connection, events.order_by("event_id").select("event_id", "device")).to_arrow_table()
    assert found.to_pylist() == [{"event_id": "e0001", "device": "tv"}, {"event_id": "e0002", "device": None}]
