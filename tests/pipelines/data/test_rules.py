"""SQL and Great Expectations must find the same rows: they are two readings of one list of rules."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config import ValidationConfig
from pipelines.contracts import EVENTS
from pipelines.data import expectations
from pipelines.data.lake import Lake
from pipelines.data.rules import row_rules
from pipelines.data.validation import Verdict, validate
from tests.support.raw import AS_OF, START, as_text, event, stage, with_events

MESS: dict[str, list[Any]] = {
    "event_id": [None, "", "e00001", "new"],
    "user_id": [None, "", "u1", "nobody"],
    "item_id": [None, "i1", "nowhere"],
    "event_type": [None, "", "view"],
    "value": [None, 3.0, -5.0, 1e13, float("nan"), float("inf")],
    "event_timestamp": [None, START, START.replace(year=1960), AS_OF + timedelta(days=1)],
    "ingested_at": [None, START, START - timedelta(days=1), AS_OF + timedelta(days=2)],
}
messy_rows = st.lists(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in MESS.items()}), max_size=12
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=messy_rows, text=st.booleans())
def test_great_expectations_counts_what_sql_counts(
    rows: list[dict[str, Any]], text: bool, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("case")
    partition = with_events([event(1000 + number) | row for number, row in enumerate(rows)], num_good=5)
    if text:
        partition = {name: as_text(table) for name, table in partition.items()}
    counted: dict[str, int] = {}
    original = expectations.Report.table

    def spy(self: expectations.Report, name: str, *arguments: Any) -> dict[str, int]:
        counts = original(self, name, *arguments)
        counted.update({f"{name}.{rule}": count for rule, count in counts.items() if count})
        return counts

    monkeypatch.setattr(expectations.Report, "table", spy)
    verdict = _validate(folder, partition)
    assert counted == verdict.num_broken
    assert sum(verdict.num_quarantined.values()) + verdict.num_accepted[EVENTS] == 5 + len(rows)


def _validate(folder: Path, partition: dict[str, pa.Table]) -> Verdict:
    raw = stage(folder, partition)
    (folder / "out").mkdir()
    return validate(
        Path(raw.uri),
        folder / "out",
        partition="all",
        lake=Lake(folder / "lake"),
        config=ValidationConfig(),
        as_of=AS_OF,
    )


def test_every_rule_has_its_own_name_and_a_meaning() -> None:
    for table in ("events", "items", "users"):
        rules = row_rules(table, config=ValidationConfig(), as_of=AS_OF)
        assert len({rule.name for rule in rules}) == len(rules)
        assert all(rule.meaning for rule in rules)
