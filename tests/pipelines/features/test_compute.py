"""Raw tables as the transformations see them."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.contracts import EVENTS
from pipelines.data.lake import Lake
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.errors import ConfigError, LakeError
from pipelines.features.compute import connect, raw_table, run, write_feature_tables
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


NEEDS_MORE = r"features\.memory_limit is {} for 2 threads, and user_activity needs more: .*used\)\. Raise features\."


def test_too_small_a_budget_names_the_setting_to_raise(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, SHORT.model_copy(update={"memory_limit": "1MB"}))
    snapshot = workspace.fill({EVENTS: [event(n, f"u{n % 500}", "i", START) for n in range(20_000)]})
    with pytest.raises(ConfigError, match=NEEDS_MORE.format("1MB")):
        workspace.compute(snapshot)


class BrokenLake(Lake):
    """Fails as a lake does that is told by its reader, in the midst of writing, that there is no more."""

    reason = ""

    def overwrite(self, table: str, data: object) -> int:
        raise LakeError(f"could not write {table}: {self.reason}. Run the step again")


@pytest.mark.parametrize(
    ("reason", "error", "message"),
    [
        ("IOError: Out of Memory Error: failed (9.6 MiB/9.5 MiB used)\n\nSee", ConfigError, NEEDS_MORE.format("500MB")),
        ("No space left on device", LakeError, "could not write features/user_activity: No space"),
    ],
)
def test_the_lake_fails_by_the_budget_or_by_itself(
    tmp_path: Path, reason: str, error: type[Exception], message: str
) -> None:
    workspace = Workspace(tmp_path)
    snapshot = workspace.fill({EVENTS: [event(1, "u", "i", START)]})
    lake = BrokenLake(workspace.lake.root)
    lake.reason = reason
    with pytest.raises(error, match=message):
        write_feature_tables(snapshot, config=SHORT, delay_seconds=0.0, lake=lake, scratch=tmp_path / "scratch")
