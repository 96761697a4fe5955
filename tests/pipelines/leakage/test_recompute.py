"""Features that counted too much are found, and what they counted is said."""

from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from pipelines.features import users
from pipelines.leakage.recompute import known_before_use, recomputed_from_raw_events
from tests.support.feature_data import START, event, random_tables
from tests.support.leakage import Built


def test_clean_rows_pass(clean: Built) -> None:
    evidence = clean.evidence()
    for check in (recomputed_from_raw_events(evidence), known_before_use(evidence)):
        assert check.findings == ()
        assert check.num_checked > 20


def test_every_feature_of_the_platform_is_recomputed(clean: Built) -> None:
    """One that nobody wrote a reference for is told in the report alone: here it fails."""
    note = recomputed_from_raw_events(clean.evidence()).note
    assert note == "", "write a reference in pipelines/leakage/reference.py"


def test_a_label_that_is_its_own_feature_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "ARRIVAL", ibis.interval(microseconds=0))
    findings = recomputed_from_raw_events(Built.at(tmp_path).evidence()).findings
    by_feature = {finding.feature: finding for finding in findings}
    assert {"user_num_events", "recent_items", "last_known_at"} <= set(by_feature)
    assert "the label's own event" in by_feature["user_num_events"].problem
    assert by_feature["user_num_events"].example.startswith("event e")


def test_a_value_of_the_future_is_found_whatever_it_is(tmp_path: Path, clean: Built) -> None:
    built = clean.with_column(tmp_path / "set", "item_num_events", lambda rows: pa.array([77] * rows.num_rows))
    (finding,) = recomputed_from_raw_events(built.evidence()).findings
    assert finding.feature == "item_num_events"
    assert "differs from what was known before" in finding.problem
    assert ": 77; expected" in finding.example


def test_an_event_used_before_it_arrived_is_found(tmp_path: Path) -> None:
    """Features made as if every row had arrived at once, held against the arrivals of the source."""
    tables = random_tables(seed=22)
    at_once = [e | {"ingested_at": e["event_timestamp"]} for e in tables["events"]]
    built = Built.at(tmp_path, tables | {"events": at_once})
    built.workspace.fill(tables)
    features = built.training_set.features
    snapshot = features.snapshot.model_copy(update={"versions": built.workspace.lake.versions()})
    evidence = built.evidence(features=features.model_copy(update={"snapshot": snapshot}))
    check = known_before_use(evidence)
    assert check.num_checked > 20
    problems = {finding.feature: finding.problem for finding in check.findings}
    assert "before they had arrived" in problems["user_num_events"]


def test_a_source_without_late_rows_says_so(tmp_path: Path) -> None:
    events = [event(n, "u1", "i1", START.replace(day=1 + n % 28, hour=n // 28)) for n in range(60)]
    built = Built.at(tmp_path, random_tables(seed=23) | {"events": events})
    check = known_before_use(built.evidence())
    assert check.findings == ()
    assert "no row of this source arrived after it happened" in check.note


def test_a_feature_without_a_reference_is_named(tmp_path: Path, clean: Built) -> None:
    built = clean.with_column(tmp_path / "set", "mood", lambda rows: pa.array([1.0] * rows.num_rows))
    check = recomputed_from_raw_events(built.evidence())
    assert check.findings == ()
    assert check.note.endswith("written for them: mood")
