"""A past day's feature rows as files: complete, equal when done again, and nothing else."""

from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.contracts import FeatureExport, FeatureSet
from pipelines.errors import ConfigError
from pipelines.steps.export_features import export_features
from tests.support.feature_data import AS_OF, START, Workspace, event, feature_table, random_tables

DAY = START + timedelta(days=20)
TABLES = random_tables(seed=31)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("export"))


def export(workspace: Workspace, features: FeatureSet, days: int = 1) -> FeatureExport:
    return export_features(
        features, start=DAY, end=DAY + timedelta(days=days), lake=workspace.lake, artifacts=workspace.artifacts
    )


def test_every_row_of_the_window_and_no_other(workspace: Workspace) -> None:
    features = workspace.compute(workspace.fill(TABLES))
    exported = export(workspace, features, days=3)
    for view in features.versions:
        rows = pq.read_table(Path(exported.uri) / f"{view}.parquet").to_pylist()
        expected = [
            row
            for row in feature_table(workspace, features, view)
            if DAY <= row["event_timestamp"] < DAY + timedelta(days=3)
        ]
        assert rows == expected
        assert exported.num_rows[view] == len(rows)
    assert exported.num_rows["user_activity"] > 0
    assert not (workspace.home / "feast").exists(), "the online store is not touched"


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    """Computed as of the day's end, before and after more data came: other table versions, equal bytes."""
    workspace, as_of = Workspace(tmp_path), DAY + timedelta(days=1)
    first = workspace.compute(workspace.fill(TABLES).model_copy(update={"as_of": as_of}))
    before = export(workspace, first)
    assert export(workspace, first) == before
    later = event(992, "u1", "i1", AS_OF - timedelta(days=1))
    grown = workspace.fill(TABLES | {"events": [*TABLES["events"], later]}).model_copy(update={"as_of": as_of})
    again = export(workspace, workspace.compute(grown))
    assert again.uri != before.uri
    assert again.digest == before.digest


def test_a_window_that_the_features_do_not_know_is_refused(workspace: Workspace) -> None:
    features = workspace.compute(workspace.fill(TABLES))
    with pytest.raises(ConfigError, match="expected start < end <= as of"):
        export(workspace, features, days=500)
    with pytest.raises(ConfigError, match="expected start < end"):
        export(workspace, features, days=0)
