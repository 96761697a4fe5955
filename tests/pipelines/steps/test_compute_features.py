"""Feature tables: what each row says, and from when."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import LakeError
from pipelines.features.schemas import FEATURE_TABLES
from tests.support.feature_data import AS_OF, START, Workspace, event, feature_table, item, random_tables, user

MICROSECOND, DAY = timedelta(microseconds=1), timedelta(days=1)


def computed(
    home: Path, tables: dict[str, list[dict[str, object]]], view: str, **settings: float
) -> list[dict[str, object]]:
    workspace = Workspace(home, **settings)
    return feature_table(workspace, workspace.compute(workspace.fill(tables)), view)


def events_only(*events: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    return {"events": list(events), "items": [item("i", ["war"])], "users": [user("u", ["age=1"])]}


def test_a_row_is_stamped_just_after_its_event_was_known(tmp_path: Path) -> None:
    late = event(1, "u", "i", START, ingested_at=START + 3 * DAY)
    (row,) = computed(tmp_path, events_only(late), "user_activity", delay_seconds=2.5)
    assert row["event_timestamp"] == START + 3 * DAY + timedelta(seconds=2.5) + MICROSECOND
    assert row["created_timestamp"] == row["event_timestamp"]
    assert row["last_known_at"] == START + 3 * DAY + timedelta(seconds=2)


def test_events_of_one_microsecond_are_one_row(tmp_path: Path) -> None:
    events = [event(2, "u", "second", START, value=5.0), event(1, "u", "first", START, value=1.0)]
    tables = events_only(*events, event(3, "u", "third", START + MICROSECOND, value=None))
    histories = computed(tmp_path, tables, "user_history")
    assert [row["recent_items"] for row in histories] == [["first", "second"], ["first", "second", "third"]]
    activity = computed(tmp_path, tables, "user_activity")
    assert [(row["user_num_events"], row["user_mean_value"]) for row in activity] == [(2, 3.0), (3, 3.0)]


def test_windows_include_their_edge(tmp_path: Path) -> None:
    moments = [START, START + 7 * DAY, START + 7 * DAY + MICROSECOND]
    rows = computed(tmp_path, events_only(*(event(n, "u", "i", at) for n, at in enumerate(moments))), "user_activity")
    assert [row["user_num_events_7d"] for row in rows] == [1, 2, 2]
    assert [row["user_num_events_30d"] for row in rows] == [1, 2, 3]


def test_history_is_cut_and_ordered_by_when_it_was_known(tmp_path: Path) -> None:
    events = [event(n, "u", f"i{n}", START + n * DAY) for n in range(6)]
    events.append(event(9, "u", "late", START, ingested_at=START + 10 * DAY))
    rows = computed(tmp_path, events_only(*events), "user_history")
    assert rows[-1]["recent_items"] == ["i3", "i4", "i5", "late"]


def test_taste_is_known_at_midnight_and_ties_fall_by_name(tmp_path: Path) -> None:
    items = [item("a", ["war"]), item("b", ["noir", "drama"]), item("c", ["comedy"])]
    events = [event(1, "u", "a", START), event(2, "u", "b", START + DAY), event(3, "u", "a", START + DAY)]
    rows = computed(tmp_path, {"events": events, "items": items, "users": []}, "user_taste")
    assert [row["event_timestamp"] for row in rows] == [START + DAY, START + 2 * DAY]
    assert rows[0]["taste_categories"] == ["war"]
    assert rows[1]["taste_categories"] == ["war", "drama", "noir"]
    assert rows[1]["taste_weights"] == [0.5, 0.25, 0.25]


def test_taste_uses_the_categories_an_item_had_then(tmp_path: Path) -> None:
    items = [item("i", ["war"]), item("i", ["noir"], START + DAY)]
    events = [event(1, "u", "i", START), event(2, "u", "i", START + DAY)]
    rows = computed(tmp_path, {"events": events, "items": items, "users": []}, "user_taste")
    assert rows[-1]["taste_categories"] == ["noir", "war"]


def test_popularity_changes_when_days_enter_and_leave_a_window(tmp_path: Path) -> None:
    rows = computed(
        tmp_path, events_only(event(1, "u", "i", START), event(2, "v", "i", START + DAY / 2)), "item_popularity"
    )
    names = ["item_num_events_1d", "item_num_events_7d", "item_num_events_30d", "item_num_events"]
    assert [((row["event_timestamp"] - START) // DAY, *(row[name] for name in names)) for row in rows] == [
        (1, 2, 2, 2, 2),
        (2, 0, 2, 2, 2),
        (8, 0, 0, 2, 2),
        (31, 0, 0, 0, 2),
    ]


def test_quality_is_drawn_to_the_mean_of_all_items_so_far(tmp_path: Path) -> None:
    events = [event(1, "u", "i", START, value=5.0), event(2, "u", "j", START, value=1.0)]
    events += [event(3, "u", "j", START + DAY, value=None), event(4, "u", "j", START + 2 * DAY, value=2.0)]
    rows = computed(tmp_path, events_only(*events), "item_quality")
    assert rows[0]["item_mean_value"] == pytest.approx((5 + 10 * 3) / 11)
    assert [row["item_num_values"] for row in rows if row["item_id"] == "j"] == [1, 2]
    assert rows[-1]["item_mean_value"] == pytest.approx((3 + 10 * 8 / 3) / 12)
    assert rows[-1]["item_value_std"] == pytest.approx(0.5)


def test_seen_items_are_distinct_newest_last_and_cut(tmp_path: Path) -> None:
    names = ["a", "b", "a", "c", "d", "e", "f", "g"]
    events = [event(n, "u", name, START + n * DAY) for n, name in enumerate(names)]
    (row,) = computed(tmp_path, events_only(*events), "user_seen")
    assert row["seen_items"] == ["a", "c", "d", "e", "f", "g"]
    assert row["event_timestamp"] == START + 7 * DAY + MICROSECOND


def test_of_rows_updated_at_one_moment_one_is_kept_whatever_their_order(tmp_path: Path) -> None:
    twice = [item("i", ["war"], title="A"), item("i", ["noir"], title="B")]
    found = [
        computed(
            tmp_path / str(n), {"events": [event(1, "u", "i", START)], "items": items, "users": []}, "item_content"
        )
        for n, items in enumerate((twice, twice[::-1]))
    ]
    assert found[0] == found[1]
    assert [row["title"] for row in found[0]] == ["B"]


def test_nothing_known_at_or_after_as_of_is_used(tmp_path: Path) -> None:
    tables = random_tables(seed=1)
    workspace = Workspace(tmp_path)
    early = START + timedelta(days=20)
    features = workspace.compute(workspace.fill(tables).model_copy(update={"as_of": early}))
    known = [e for e in tables["events"] if max(e["event_timestamp"], e["ingested_at"]) < early]
    expected = Workspace(tmp_path / "only").fill(tables | {"events": known})
    other = Workspace(tmp_path / "only").compute(expected.model_copy(update={"as_of": early}))
    for name, table in FEATURE_TABLES.items():
        rows = feature_table(workspace, features, name)
        assert rows == feature_table(Workspace(tmp_path / "only"), other, name)
        assert all(row["event_timestamp"] <= early for row in rows)
        assert workspace.lake.read(table.lake_table, version=features.versions[name]).schema.equals(table.schema)
        assert features.num_rows[name] == len(rows)


def test_running_again_returns_the_same_versions(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    snapshot = workspace.fill(random_tables(seed=2))
    features = workspace.compute(snapshot)
    assert workspace.compute(snapshot) == features
    assert workspace.lake.version("features/user_activity") == features.versions["user_activity"]
    assert Workspace(tmp_path, delay_seconds=9.0).compute(snapshot).versions != features.versions


def test_without_users_or_items_their_tables_are_empty(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    features = workspace.compute(workspace.fill({"events": [event(1, "u", "i", START)]}))
    assert features.num_rows["user_activity"] == 1
    assert (
        features.num_rows["user_profile"] == features.num_rows["item_content"] == features.num_rows["user_taste"] == 0
    )


def test_large_values_are_added_exactly(tmp_path: Path) -> None:
    values = [1e15, 0.000001, -1e15]
    events = [event(n, "u", "i", START + n * DAY, value=value) for n, value in enumerate(values)]
    rows = computed(tmp_path, events_only(*events), "user_activity")
    assert rows[-1]["user_mean_value"] == pa.scalar(0.000001 / 3, pa.float32()).as_py()


def test_a_missing_version_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    snapshot = workspace.fill(events_only(event(1, "u", "i", START)))
    with pytest.raises(LakeError, match="no version 7"):
        workspace.compute(snapshot.model_copy(update={"versions": snapshot.versions | {"events": 7}, "as_of": AS_OF}))
