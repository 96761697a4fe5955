"""Distributions are of each entity's newest row, and equal what numpy says of the same values."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.catalogue.distributions import Distribution, distributions, request_distributions
from pipelines.contracts import FeatureSet
from pipelines.features.schemas import FEATURE_TABLES
from tests.support.feature_data import AS_OF, SHORT, START, Workspace
from tests.support.tiny_release import items_table, write_training_set

NUM_USERS = 200
COUNTS = np.random.default_rng(3).integers(0, 50, NUM_USERS)
Found = dict[str, dict[str, Distribution]]


def written(workspace: Workspace, view: str, columns: dict[str, list[object]]) -> int:
    """Write a feature table: each row stamped by its place, so that later rows are newer."""
    table = FEATURE_TABLES[view]
    num_rows = len(next(iter(columns.values()), []))
    stamps = [START + timedelta(seconds=second) for second in range(num_rows)]
    rows = {"event_timestamp": stamps, "created_timestamp": stamps, **columns}
    return workspace.lake.overwrite(
        table.lake_table,
        pa.table([pa.array(rows.get(name, [None] * num_rows), kind) for name, kind in zip(
            table.schema.names, table.schema.types, strict=True
        )], schema=table.schema),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Every user has an older row with other values, which must not count."""
    workspace = Workspace(tmp_path_factory.mktemp("catalogue"))
    users = [f"u{number}" for number in range(NUM_USERS)]
    versions = {view: written(workspace, view, {}) for view in FEATURE_TABLES}
    versions["user_activity"] = written(
        workspace,
        "user_activity",
        {
            "user_id": users + users,
            "user_num_events": [10_000] * NUM_USERS + COUNTS.tolist(),
            "user_num_events_7d": [None] * NUM_USERS + [7] * NUM_USERS,
            "user_mean_value": [1.0] * NUM_USERS + [None, float("nan"), *[2.5] * (NUM_USERS - 2)],
            "last_known_at": [START] * NUM_USERS + [AS_OF] * NUM_USERS,
        },
    )
    versions["user_history"] = written(
        workspace, "user_history", {"user_id": ["a", "b", "c"], "recent_items": [["x", "y", "x"], ["x"], []]}
    )
    versions["item_content"] = written(
        workspace,
        "item_content",
        {"item_id": ["1", "2", "3", "4"], "title": ["b", "a", "b", None], "categories": [["war"], None, [], ["war"]]},
    )
    features = FeatureSet(snapshot=workspace.snapshot(), versions=versions, num_rows={})
    return distributions(features, lake=workspace.lake, config=SHORT, scratch=workspace.home / "scratch")


def test_every_feature_of_a_table_is_described(found: Found) -> None:
    assert {view: list(features) for view, features in found.items()} == {
        view: list(table.features) for view, table in FEATURE_TABLES.items()
    }


def test_numbers_are_those_of_the_newest_rows(found: Found) -> None:
    events = found["user_activity"]["user_num_events"]
    assert (events.num_rows, events.num_nulls) == (NUM_USERS, 0)
    expected = {name: np.quantile(COUNTS, q) for name, q in (("q05", 0.05), ("q25", 0.25), ("median", 0.5))}
    assert events.numbers["mean"] == pytest.approx(COUNTS.mean())
    assert {name: events.numbers[name] for name in expected} == pytest.approx(expected)
    assert (events.numbers["min"], events.numbers["max"]) == (COUNTS.min(), COUNTS.max())


def test_bars_count_every_value_once(found: Found) -> None:
    events = found["user_activity"]["user_num_events"]
    clipped = np.clip(COUNTS, events.low, events.high)
    assert sum(events.bars) == NUM_USERS
    assert not events.logarithmic
    # numpy counts a value on an inner edge where rounding puts it: compare running counts but for such values.
    edges = np.linspace(events.low, events.high, len(events.bars) + 1)
    expected = np.cumsum(np.histogram(clipped, edges)[0])
    assert np.abs(np.cumsum(events.bars) - expected).max() <= np.bincount(COUNTS).max()


def test_a_single_value_is_one_bar(found: Found) -> None:
    week = found["user_activity"]["user_num_events_7d"]
    assert week.bars[0] == NUM_USERS
    assert sum(week.bars) == NUM_USERS


def test_nulls_and_what_is_no_number_are_counted_apart(found: Found) -> None:
    mean = found["user_activity"]["user_mean_value"]
    assert mean.num_nulls == 2
    assert mean.numbers["mean"] == 2.5
    empty = found["user_activity"]["user_num_events_30d"]
    assert (empty.num_nulls, empty.numbers, empty.bars) == (NUM_USERS, {}, ())


def test_moments_are_seconds(found: Found) -> None:
    moment = found["user_activity"]["last_known_at"]
    assert (moment.measured, moment.numbers["median"]) == ("moment", AS_OF.timestamp())


def test_lists_by_length_and_by_entities_that_have_a_member(found: Found) -> None:
    recent = found["user_history"]["recent_items"]
    assert (recent.measured, recent.numbers["max"], recent.numbers["min"]) == ("length", 3.0, 0.0)
    assert recent.top == (("x", 2), ("y", 1))
    assert recent.num_distinct == 2


def test_texts_by_how_often(found: Found) -> None:
    title = found["item_content"]["title"]
    assert (title.top, title.num_distinct, title.num_nulls) == ((("b", 2), ("a", 1)), 2, 1)
    assert found["item_content"]["categories"].num_nulls == 1


def test_an_empty_table_is_described_as_empty(found: Found) -> None:
    assert found["item_quality"]["item_mean_value"] == Distribution(0, 0)


def test_a_skewed_count_is_drawn_on_a_logarithmic_scale(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    versions = {view: written(workspace, view, {}) for view in FEATURE_TABLES}
    counts = [2**power for power in range(12)]
    ids = [str(number) for number in range(12)]
    versions["item_popularity"] = written(
        workspace, "item_popularity", {"item_id": ids, "item_num_events": counts, "item_num_events_1d": [0] * 12}
    )
    features = FeatureSet(snapshot=workspace.snapshot(), versions=versions, num_rows={})
    found = distributions(features, lake=workspace.lake, config=SHORT, scratch=tmp_path / "scratch")
    popularity = found["item_popularity"]["item_num_events"]
    assert popularity.logarithmic
    assert max(popularity.bars) <= 2, "powers of two are spread evenly"


def test_features_of_a_request_are_those_of_a_training_sets_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, rows = np.arange(3_000) % 24, {}
    days = [None if number % 10 == 0 else float(number) for number in range(3_000)]
    for part, split in enumerate(("train", "validation", "test")):
        chosen = slice(1_000 * part, 1_000 * (part + 1))
        ids = [f"e{number}" for number in range(3_000)][chosen]
        columns = {
            "event_id": ids,
            "hour": hours[chosen],
            "days_since_last_event": pa.array(days[chosen], pa.float32()),
        }
        rows[split] = pa.table(columns)
        pq.write_table(rows[split], tmp_path / f"{split}.parquet")
    labels = write_training_set(tmp_path / "reference", items_table(3)).model_copy(
        update={"uri": str(tmp_path), "num_rows": dict.fromkeys(rows, 1_000)}
    )
    wanted = ("hour", "days_since_last_event", "taste_match")
    whole = request_distributions(labels, wanted, config=SHORT, scratch=tmp_path)
    assert list(whole) == ["hour", "days_since_last_event"], "a set of before a feature has none of it"
    assert (whole["hour"].num_rows, whole["hour"].numbers["max"], whole["hour"].numbers["mean"]) == (3_000, 23.0, 11.5)
    assert whole["hour"].of == f"labels of training set {'f' * 12}"
    assert whole["days_since_last_event"].num_nulls == 300
    monkeypatch.setattr("pipelines.catalogue.distributions.SAMPLE_ROWS", 300)
    some = request_distributions(labels, wanted, config=SHORT, scratch=tmp_path)
    assert 200 < some["hour"].num_rows < 400
    assert some == request_distributions(labels, wanted, config=SHORT, scratch=tmp_path)
