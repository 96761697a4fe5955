"""Planted late rows are counted, feature by feature; rows that all arrived at once show no difference."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import bitemporal_report as command
from pipelines.cli.main import main
from pipelines.features.bitemporal import BitemporalReport, FeatureDifference, bitemporal_report
from tests.support.feature_data import SHORT, START, Row, Workspace, event, item, user

HOURS = [START + timedelta(hours=hour) for hour in range(9)]


def tables(late: bool) -> dict[str, list[Row]]:
    """`u0` and `u1` have an event that arrives hours after it happened; meanwhile each has another one."""
    arrived: dict[str, Any] = {"ingested_at": HOURS[6]} if late else {}
    events = [
        event(0, "u0", "i0", HOURS[0], value=1.0),
        event(1, "u0", "i1", HOURS[1], value=5.0, **arrived),
        event(2, "u0", "i0", HOURS[2], value=1.0),
        event(3, "u0", "i1", HOURS[8], value=1.0),
        event(4, "u1", "i0", HOURS[1], value=2.0, **arrived),
        event(5, "u1", "i1", HOURS[2], value=2.0),
    ]
    return {"events": events, "items": [item("i0", ["war"]), item("i1", ["war"])], "users": [user("u0", ["age=20"])]}


def report(home: Path, late: bool) -> BitemporalReport:
    workspace = Workspace(home)
    snapshot = workspace.fill(tables(late))
    return bitemporal_report(snapshot, config=SHORT, delay_seconds=0.0, lake=workspace.lake, scratch=home / "scratch")


def test_late_rows_are_counted(tmp_path: Path) -> None:
    found = report(tmp_path, late=True)
    assert (found.num_labels, found.num_late_events, found.num_different) == (6, 2, 3)
    features = {feature.feature: feature for feature in found.features}
    # Event 2 would have counted event 1, and event 5 event 4, of which nothing was known.
    assert features["user_num_events"] == FeatureDifference(
        view="user_activity",
        feature="user_num_events",
        num_different=2,
        num_only_naive=1,
        mean_difference=1.0,
        max_difference=1.0,
    )
    assert features["user_mean_value"].mean_difference == pytest.approx(2.0)
    # Of three events the newest is the one that arrived last: event 3 saw them in this order, not in the events'.
    assert features["recent_items"].num_different == 3
    assert features["last_known_at"].max_difference == timedelta(hours=4).total_seconds()
    assert features["attributes"].num_different == 0
    assert found.features[0].num_different == 3


def test_rows_that_arrived_at_once_show_no_difference(tmp_path: Path) -> None:
    found = report(tmp_path, late=False)
    assert (found.num_labels, found.num_late_events, found.num_different) == (6, 0, 0)
    assert {feature.num_different for feature in found.features} == {0}


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(tmp_path, late=True).model_dump(mode="json")
    monkeypatch.setattr(command, "confine", lambda config: None)
    monkeypatch.setattr("pipelines.entrypoints.take_snapshot", lambda config, as_of: {"as_of": as_of})
    monkeypatch.setattr("pipelines.entrypoints.bitemporal_report", lambda config, snapshot: found)
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    assert main(["bitemporal-report"]) == 0
    printed = capsys.readouterr().out
    assert "3 of 6 labels (50.00%) would have seen their future" in printed
    assert "user_num_events" in printed
    assert main(["bitemporal-report", "--json"]) == 0
    assert '"num_different": 3' in capsys.readouterr().out
