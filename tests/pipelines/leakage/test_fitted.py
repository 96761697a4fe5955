"""Vocabularies and normalizers that know more than the training window are found."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.config import RetrievalConfig
from pipelines.leakage.fitted import fitted_on_the_training_window
from pipelines.steps.retrieval_labels import fit_encoders
from tests.support.feature_data import random_tables
from tests.support.leakage import Built


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """With an item that is first used in the test window."""
    tables = random_tables(seed=24)
    newest = sorted(tables["events"], key=lambda e: str(e["event_timestamp"]))[-5:]
    ids = {e["event_id"] for e in newest}
    tables["events"] = [e | ({"item_id": "new"} if e["event_id"] in ids else {}) for e in tables["events"]]
    return Built.at(tmp_path_factory.mktemp("fitted"), tables)


def bundle(
    built: Built, folder: Path, rows: pa.Table, *, late: timedelta = timedelta(0), num_bins: int | None = None
) -> Path:
    items, queries = fit_encoders(rows, RetrievalConfig(max_text_tokens=4, num_bins=num_bins))
    items.save(folder / "item_inputs")
    queries.save(folder / "query_inputs")
    until = built.training_set.validation_start + late
    (folder / "bundle.json").write_text(json.dumps({"fitted_until": until.isoformat()}))
    return folder


def test_encoders_of_the_training_window_pass(tmp_path: Path, built: Built) -> None:
    folder = bundle(built, tmp_path, built.rows("train"))
    check = fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None)
    assert check.findings == ()
    assert check.num_checked > 30


def test_encoders_of_positive_labels_pass_when_the_limit_is_named(tmp_path: Path, built: Built) -> None:
    rows = built.rows("train")
    positive = rows.filter(pc.fill_null(pc.greater_equal(rows["value"], 4.0), False))
    folder = bundle(built, tmp_path, positive)
    assert fitted_on_the_training_window(built.evidence(), folder, min_positive_value=4.0).findings == ()
    assert fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None).findings != ()


def test_a_vocabulary_and_a_normalizer_of_all_rows_are_found(tmp_path: Path, built: Built) -> None:
    everything = pa.concat_tables([built.rows(split) for split in ("train", "validation", "test")])
    folder = bundle(built, tmp_path, everything)
    findings = {
        finding.feature: finding
        for finding in fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None).findings
    }
    assert "1 of" in findings["item_inputs/item"].problem
    assert findings["item_inputs/item"].example == "value 'new'"
    assert "are not those of the training rows" in findings["query_inputs/user_num_events"].problem
    assert "item_inputs/item_num_events" in findings


def test_bins_of_the_training_window_pass(tmp_path: Path, built: Built) -> None:
    folder = bundle(built, tmp_path, built.rows("train"), num_bins=6)
    assert fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None).findings == ()


def test_a_bin_of_other_rows_is_found(tmp_path: Path, built: Built) -> None:
    folder = bundle(built, tmp_path, built.rows("train"), num_bins=6)
    file = folder / "query_inputs" / "query_encoder.json"
    encoder = json.loads(file.read_text())
    encoder["numbers"]["edges"]["user_num_events"][2] += 0.01
    file.write_text(json.dumps(encoder))
    (finding,) = fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None).findings
    assert finding.feature == "query_inputs/user_num_events"
    assert finding.problem == "its edge 3 are not those of the training rows"


def test_a_window_that_reaches_into_validation_is_found(tmp_path: Path, built: Built) -> None:
    folder = bundle(built, tmp_path, built.rows("train"), late=timedelta(days=1))
    (finding,) = fitted_on_the_training_window(built.evidence(), folder, min_positive_value=None).findings
    assert finding.feature == "fitted_until"
