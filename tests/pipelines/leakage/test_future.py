"""Transformations that look ahead are found."""

from typing import Any

import pytest

from pipelines.features import items, users
from pipelines.leakage.future import blind_to_the_future
from tests.support.leakage import Built


def test_the_platforms_own_transformations_are_blind_to_the_future(clean: Built) -> None:
    check = blind_to_the_future(clean.evidence())
    assert check.findings == ()
    assert check.num_checked > 300
    assert check.note == "on a sample of 300 events"


def test_a_day_that_is_used_before_it_is_over_is_found(clean: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    of_day = items.midnight_after
    monkeypatch.setattr(items, "midnight_after", lambda day: of_day(day - 1))
    findings = blind_to_the_future(clean.evidence()).findings
    assert "item_num_events" in {finding.feature for finding in findings}
    assert all("with another future" in finding.example for finding in findings)


def test_a_mean_over_all_time_is_found(clean: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def over_all_time(daily: Any) -> Any:
        total, num = daily["total"].sum().as_scalar(), daily["num"].sum().as_scalar()
        return daily.select("day").distinct().mutate(global_mean=total.cast("float64") / num)

    monkeypatch.setattr(items, "_global_mean", over_all_time)
    findings = blind_to_the_future(clean.evidence()).findings
    assert {finding.feature for finding in findings} == {"item_mean_value"}


def test_a_window_that_reaches_ahead_is_found(clean: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = users.in_order
    monkeypatch.setattr(users, "in_order", lambda **frame: in_order(**(frame | ({"following": 1} if frame else {}))))
    findings = blind_to_the_future(clean.evidence()).findings
    assert "recent_items" in {finding.feature for finding in findings}
