"""Labels that are not what was known at `as_of` are found."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.leakage.labels import labels_are_known_events
from tests.support.leakage import Built


def test_clean_labels_pass(clean: Built) -> None:
    check = labels_are_known_events(clean.evidence())
    assert check.findings == ()
    assert check.num_checked == 300


def test_a_label_of_after_as_of_is_found(clean: Built) -> None:
    features = clean.training_set.features
    earlier = features.snapshot.model_copy(update={"as_of": clean.training_set.test_start + timedelta(hours=1)})
    evidence = clean.evidence(features=features.model_copy(update={"snapshot": earlier}))
    (finding,) = labels_are_known_events(evidence).findings
    assert finding.feature == "known_at"
    assert "after the snapshot's as_of" in finding.problem


def test_a_label_that_never_happened_is_found(tmp_path: Path, clean: Built) -> None:
    built = clean.with_column(
        tmp_path / "set", "event_id", lambda r: pc.binary_join_element_wise(r["event_id"], "", "x")
    )
    assert "event_id" in {finding.feature for finding in labels_are_known_events(built.evidence()).findings}


def test_a_changed_label_is_found(tmp_path: Path, clean: Built) -> None:
    built = clean.with_column(tmp_path / "set", "value", lambda rows: pa.array([9.5] * rows.num_rows))
    (finding,) = labels_are_known_events(built.evidence()).findings
    assert finding.feature == "value"
    assert finding.problem == "300 labels differ from their events"
