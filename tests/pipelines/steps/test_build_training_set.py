"""No training row ever saw its future, and anyone can recompute every row."""

import os
import random
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import REPOSITORY, SplitConfig
from pipelines.contracts import TrainingSet
from pipelines.errors import TrainingError
from pipelines.features import users
from pipelines.leakage.checks import run_checks
from pipelines.sources.movielens import MovieLensSource
from pipelines.stores.fingerprint import Fingerprint, parquet_fingerprint
from tests.support.feature_data import AS_OF, START, Workspace, event, item, random_tables, user
from tests.support.feature_oracle import Oracle, differences
from tests.support.leakage import Built

SPLITS = ("train", "validation", "test")


def rows_of(training_set: TrainingSet) -> pa.Table:
    return pa.concat_tables([pq.read_table(f"{training_set.uri}/{name}.parquet") for name in SPLITS])


def built(home: Path, tables: dict[str, list[dict[str, object]]], delay_seconds: float = 0.0) -> TrainingSet:
    workspace = Workspace(home, delay_seconds=delay_seconds)
    snapshot = workspace.fill(tables)
    workspace.declare()
    return workspace.train(workspace.compute(snapshot))


def wrong_rows(
    training_set: TrainingSet, tables: dict[str, list[dict[str, object]]], delay_seconds: float
) -> list[str]:
    """Training rows that differ from the features recomputed out of the raw events known strictly before them."""
    oracle = Oracle(tables, delay_seconds=delay_seconds, history=4, taste=3)
    sample = random.Random(1).sample(rows_of(training_set).to_pylist(), 60)
    found = [
        (row["event_id"], differences(row, oracle.features(row["user_id"], row["item_id"], row["event_timestamp"])))
        for row in sample
    ]
    return [f"{event_id}: {different}" for event_id, different in found if different]


@pytest.mark.parametrize("delay_seconds", [0.0, 5400.25])
def test_joined_features_equal_those_recomputed_from_earlier_events(tmp_path: Path, delay_seconds: float) -> None:
    tables = random_tables(seed=int(delay_seconds))
    assert wrong_rows(built(tmp_path, tables, delay_seconds), tables, delay_seconds) == []


def test_the_recomputation_finds_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamped with the moment of the event instead of just after it, a row sees its own label."""
    monkeypatch.setattr(users, "ARRIVAL", ibis.interval(microseconds=0))
    tables = random_tables(seed=3)
    assert wrong_rows(built(tmp_path, tables), tables, 0.0) != []


@pytest.mark.parametrize("change", ["remove", "replace"])
def test_rows_do_not_depend_on_anything_known_later(tmp_path: Path, change: str) -> None:
    tables = random_tables(seed=4)
    moment = START + timedelta(days=25)
    past = [e for e in tables["events"] if max(e["event_timestamp"], e["ingested_at"]) < moment]
    future = [e for e in tables["events"] if max(e["event_timestamp"], e["ingested_at"]) >= moment]
    assert len(past) > 50
    assert len(future) > 50
    other = [] if change == "remove" else [e | {"item_id": "i5", "user_id": "u1", "value": 9.0} for e in future]
    labels = pa.array([e["event_id"] for e in past])

    def earlier_rows(home: Path, events: list[dict[str, object]]) -> pa.Table:
        rows = rows_of(built(home, tables | {"events": events}))
        return rows.filter(pc.is_in(rows["event_id"], labels))

    before = earlier_rows(tmp_path / "before", tables["events"])
    after = earlier_rows(tmp_path / "after", past + other)
    assert before.num_rows == len(past)
    assert after.equals(before)
    assert fingerprint(after) == fingerprint(before)


def test_a_late_event_is_a_label_when_it_happened_and_a_feature_when_it_arrived(tmp_path: Path) -> None:
    day = timedelta(days=1)
    events = [event(n, "u", "old", START + n * day) for n in range(10)]
    events.append(event(90, "u", "late", START + 2.5 * day, ingested_at=START + 6.5 * day))
    rows = rows_of(built(tmp_path, {"events": events, "items": [item("old", ["war"])], "users": [user("u", [])]}))
    by_id = {row["event_id"]: row for row in rows.to_pylist()}
    assert by_id["e0090"]["recent_items"] == ["old", "old", "old"]
    assert "late" not in by_id["e0006"]["recent_items"]
    assert by_id["e0007"]["recent_items"] == ["old", "old", "old", "late"]
    assert by_id["e0007"]["user_num_events"] == 8


def test_an_event_that_arrives_after_as_of_is_neither_label_nor_feature(tmp_path: Path) -> None:
    tables = random_tables(seed=5)
    hidden = event(999, "u1", "i1", START + timedelta(days=3), ingested_at=AS_OF)
    without, with_it = (
        built(tmp_path / "a", tables),
        built(tmp_path / "b", tables | {"events": [*tables["events"], hidden]}),
    )
    assert with_it.fingerprint == without.fingerprint


def test_splits_are_by_time_and_share_no_moment(tmp_path: Path) -> None:
    training_set = built(tmp_path, random_tables(seed=6))
    parts = [pq.read_table(f"{training_set.uri}/{name}.parquet") for name in SPLITS]
    assert [part.num_rows for part in parts] == [training_set.num_rows[name] for name in SPLITS]
    assert sum(training_set.num_rows.values()) == 300
    train, validation, test = (pc.min_max(part["event_timestamp"]).as_py() for part in parts)
    assert train["max"] < training_set.validation_start == validation["min"]
    assert validation["max"] < training_set.test_start == test["min"]
    for part in parts:
        keys = list(zip(part["event_timestamp"].to_pylist(), part["event_id"].to_pylist(), strict=True))
        assert keys == sorted(keys)


def test_only_the_newest_training_rows_are_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill(random_tables(seed=7)))
    workspace.declare()
    whole = workspace.train(features)
    split = SplitConfig(validation_share=0.1, test_share=0.2, max_train_rows=100)
    newest = workspace.train(features, split)
    assert newest.num_rows == whole.num_rows | {"train": 100}
    everything, kept = (pq.read_table(f"{training_set.uri}/train.parquet") for training_set in (whole, newest))
    assert kept.equals(everything.slice(everything.num_rows - 100))


def test_events_of_one_moment_cannot_be_split(tmp_path: Path) -> None:
    events = [event(n, "u", "i", START) for n in range(50)]
    with pytest.raises(TrainingError, match="expected at least one in each part"):
        built(tmp_path, {"events": events, "items": [item("i", ["war"])], "users": []})


def test_equal_inputs_give_an_equal_fingerprint_elsewhere(tmp_path: Path) -> None:
    tables = random_tables(seed=8)
    first, second = built(tmp_path / "a", tables), built(tmp_path / "b", tables)
    assert first.fingerprint == second.fingerprint
    files = [Path(second.uri) / f"{name}.parquet" for name in SPLITS]
    assert len(parquet_fingerprint(files)) == 64


def test_another_value_gives_another_fingerprint(tmp_path: Path) -> None:
    tables = random_tables(seed=8)
    changed = [tables["events"][0] | {"value": 1.25}, *tables["events"][1:]]
    assert built(tmp_path / "a", tables).fingerprint != built(tmp_path / "b", tables | {"events": changed}).fingerprint


@pytest.mark.realdata
def test_movielens_100k_features_equal_those_recomputed(tmp_path: Path, data_folder: Path) -> None:
    raw = MovieLensSource(data_folder / "ml-100k").read("all")
    tables = {name: getattr(raw, name).read_all() for name in ("events", "items", "users")}
    events = tables["events"]
    tables["events"] = events.append_column("source_partition", pa.array(["all"] * events.num_rows))
    workspace = Workspace(tmp_path)
    for name, table in tables.items():
        workspace.lake.overwrite(name, table)
    workspace.declare()
    newest = pc.max(tables["events"]["event_timestamp"]).as_py()
    training_set = workspace.train(workspace.compute(workspace.snapshot(newest + timedelta(days=1))))
    assert sum(training_set.num_rows.values()) == 100_000
    assert wrong_rows(training_set, {name: table.to_pylist() for name, table in tables.items()}, 0.0) == []
    for check in run_checks(Built(workspace, training_set).evidence(), None, min_positive_value=None):
        assert check.findings == (), check


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.stores.feature_store import FeatureStore
from tests.support.feature_data import Workspace
workspace = Workspace(Path(sys.argv[1]))
historical, calls = FeatureStore.historical, []
def dying(self, *args, **kwargs):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return historical(self, *args, **kwargs)
FeatureStore.historical = dying
workspace.train(workspace.compute(workspace.snapshot()))
"""


def test_a_killed_run_leaves_nothing_half_done(tmp_path: Path) -> None:
    tables = random_tables(seed=9)
    expected = built(tmp_path / "whole", tables)
    workspace = Workspace(tmp_path / "killed")
    features = workspace.compute(workspace.fill(tables))
    workspace.declare()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace.home)], env=environment, cwd=REPOSITORY, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    published = [p for p in (workspace.home / "runs/tiny/build_training_set").iterdir() if not p.name.startswith(".")]
    assert published == []
    assert workspace.compute(workspace.snapshot()) == features
    assert workspace.train(features).fingerprint == expected.fingerprint


def fingerprint(table: pa.Table) -> str:
    rows = Fingerprint()
    rows.update(table)
    return rows.hexdigest()
