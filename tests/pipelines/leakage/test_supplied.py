"""Supplied vectors that may know the future, or say nothing of when they are of, are found."""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.contracts import LeakageFinding
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.supplied_vectors import MOMENTS_FILE, SuppliedVectors
from pipelines.leakage.checks import run_checks
from pipelines.leakage.supplied import supplied_vectors_are_of_the_past
from tests.support.feature_data import random_tables
from tests.support.leakage import Built

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built.at(tmp_path_factory.mktemp("supplied"), random_tables(seed=24))


def bundle(built: Built, folder: Path, moments: list[datetime | None]) -> Path:
    """Write what training keeps of vectors: two items of training, then one that is not."""
    trained = built.rows("train")["item_id"]
    ids = [*trained.unique().to_pylist()[:2], "unused"]
    vectors = pa.table({"item_id": ids, "vector": [[0.0], [1.0], [2.0]], "as_of": moments})
    pq.write_table(vectors, folder / "vectors.parquet")
    supplied = SuppliedVectors.read(folder / "vectors.parquet", "vector", trained_on=trained)
    items = ItemEncoder.fit(built.rows("train"), num_oov_buckets=2, max_text_tokens=2)
    items.vector_ids = supplied.item_ids
    items.save(folder / "item_inputs")
    supplied.save_moments(folder)
    return folder


def findings(built: Built, folder: Path) -> tuple[LeakageFinding, ...]:
    check = supplied_vectors_are_of_the_past(built.evidence(), folder)
    assert check.num_checked == 3
    return check.findings


def test_vectors_of_before_the_end_of_training_pass(tmp_path: Path, built: Built) -> None:
    end, as_of = built.training_set.validation_start, built.training_set.features.snapshot.as_of
    assert findings(built, bundle(built, tmp_path, [end - MINUTE, end - MINUTE, as_of - MINUTE])) == ()


def test_a_vector_made_after_the_end_of_training_is_a_leak(tmp_path: Path, built: Built) -> None:
    end = built.training_set.validation_start
    folder = bundle(built, tmp_path, [end - MINUTE, end, end])
    (finding,) = findings(built, folder)
    assert finding.feature == "retrieval.item_vectors"
    assert finding.problem.startswith("1 vectors of items of the training window")
    second = built.rows("train")["item_id"].unique()[1].as_py()
    assert finding.example == f"item {second!r}, as of {end.replace(tzinfo=None).isoformat(timespec='microseconds')}"


def test_a_vector_made_after_the_snapshot_is_a_leak(tmp_path: Path, built: Built) -> None:
    end, as_of = built.training_set.validation_start, built.training_set.features.snapshot.as_of
    (finding,) = findings(built, bundle(built, tmp_path, [end - MINUTE, end - MINUTE, as_of]))
    assert finding.problem.startswith("1 vectors of other items")
    assert "'unused'" in finding.example


def test_a_vector_that_says_nothing_proves_nothing(tmp_path: Path, built: Built) -> None:
    end = built.training_set.validation_start
    folder = bundle(built, tmp_path, [end - MINUTE, None, end])
    (finding,) = findings(built, folder)
    assert finding.problem.startswith("1 vectors say nothing of when they are of; declare it in a column `as_of`")
    (folder / MOMENTS_FILE).unlink()  # a version of before moments were kept
    (finding,) = findings(built, folder)
    assert finding.problem.startswith("3 vectors say nothing")


def test_the_check_is_asked_of_models_that_have_vectors(
    tmp_path: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.leakage.checks.CHECKS", ())
    monkeypatch.setattr("pipelines.leakage.checks.fitted_on_the_training_window", lambda *_, **__: "fitted")
    folder = bundle(built, tmp_path, [built.training_set.validation_start] * 3)
    _, supplied = run_checks(built.evidence(), folder, min_positive_value=None)
    assert len(supplied.findings) == 1
    (folder / "item_inputs" / ItemEncoder.VECTOR_IDS).unlink()
    assert run_checks(built.evidence(), folder, min_positive_value=None) == ("fitted",)
