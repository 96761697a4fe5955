"""A ranking model that knows more than the training window is found, whichever part of it knows it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import RetrievalConfig
from pipelines.contracts import LeakageFinding
from pipelines.leakage.fitted_ranker import ranker_fitted_on_the_training_window
from pipelines.steps.retrieval_labels import fit_encoders
from tests.support.feature_data import random_tables
from tests.support.leakage import Built
from tests.support.ranker import CONTENT, Ranker, pairs_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """With an item that is first used in the test window."""
    tables = random_tables(seed=24)
    newest = sorted(tables["events"], key=lambda e: str(e["event_timestamp"]))[-5:]
    ids = {e["event_id"] for e in newest}
    tables["events"] = [e | ({"item_id": "new"} if e["event_id"] in ids else {}) for e in tables["events"]]
    return Built.at(tmp_path_factory.mktemp("ranker"), tables)


@pytest.fixture
def ranker(built: Built, tmp_path: Path) -> Ranker:
    return Ranker(built, tmp_path)


def findings_of(ranker: Ranker) -> dict[str, LeakageFinding]:
    check = ranker_fitted_on_the_training_window(
        ranker.built.evidence(), ranker.bundle, ranker.pairs, min_positive_value=None
    )
    assert check.num_checked > 100
    return {finding.feature: finding for finding in check.findings}


def everything(built: Built) -> pa.Table:
    return pa.concat_tables([built.rows(split) for split in ("train", "validation", "test")])


def later_item_vocabulary(ranker: Ranker) -> None:
    ranker.fit(pairs_of(ranker.built.rows("train")), ranker.encoder.query, everything(ranker.built))


def normalizers_of_all_pairs(ranker: Ranker) -> None:
    ranker.fit(pairs_of(everything(ranker.built)), ranker.encoder.query, ranker.built.rows("train"))


def later_query_encoder(ranker: Ranker) -> None:
    _, query = fit_encoders(everything(ranker.built), RetrievalConfig(max_text_tokens=4))
    ranker.fit(pairs_of(ranker.built.rows("train")), query, ranker.built.rows("train"))


def shifted_pair_normalizer(ranker: Ranker) -> None:
    file = ranker.bundle / "ranking_inputs" / "pair.json"
    scalers = json.loads(file.read_text())
    scalers["fitted"]["taste_match"]["mean"] += 0.1
    file.write_text(json.dumps(scalers))


def query_of_validation(ranker: Ranker) -> None:
    later = ranker.built.rows("validation").drop_columns(CONTENT)
    ranker.queries = pa.concat_tables([ranker.queries, later])
    ranker.write(pq.read_table(ranker.pairs / "train.parquet"))


def label_of_the_future(ranker: Ranker) -> None:
    """Every item that is first used after the window becomes a positive of the first query."""
    pairs = pq.read_table(ranker.pairs / "train.parquet")
    later = ranker.built.rows("test")
    new = pairs_of(later.filter(pc.equal(later["item_id"], "new")))
    first = pa.array(np.zeros(new.num_rows, np.int64))
    ranker.write(pa.concat_tables([pairs, new.set_column(new.column_names.index("query_id"), "query_id", first)]))


def test_a_ranker_of_the_training_window_passes(ranker: Ranker) -> None:
    assert findings_of(ranker) == {}


@pytest.mark.parametrize(
    ("leak", "where", "problem"),
    [
        (later_item_vocabulary, "ranking_inputs/item/item", "1 of"),
        (normalizers_of_all_pairs, "ranking_inputs/item/item_num_events", "are not those of the training rows"),
        (later_query_encoder, "ranking_inputs/query/user_num_events", "are not those of the training rows"),
        (shifted_pair_normalizer, "ranking_inputs/pair/taste_match", "its mean are not those"),
        (query_of_validation, "queries", "are no labels of the training window"),
        (label_of_the_future, "pairs", "have no event of the training window"),
    ],
)
def test_each_planted_leak_is_found(ranker: Ranker, leak: Callable[[Ranker], None], where: str, problem: str) -> None:
    leak(ranker)
    findings = findings_of(ranker)
    assert where in findings, findings
    assert problem in findings[where].problem
    assert findings[where].example
