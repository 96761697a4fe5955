"""Do pairs, vocabularies and normalizers of a ranking model know anything but the training window?

Read from the bundle's files and the ranking set's, and compared with the training rows by SQL and numpy: neither the
code that fits nor the code that makes pairs takes part.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.contracts import EVENT_TIMESTAMP, ITEM_ID, USER_ID, LeakageCheck, LeakageFinding
from pipelines.data.prepare import quote
from pipelines.leakage.evidence import Evidence, outcome
from pipelines.leakage.fitted import foreign_scalers, strangers

NAME = "ranker_fitted_on_the_training_window"
PAIRS, QUERIES = "training_pairs", "training_queries"


def ranker_fitted_on_the_training_window(
    evidence: Evidence, bundle: Path, ranking_set: Path, *, min_positive_value: float | None
) -> LeakageCheck:
    """Compare what a ranking bundle was fitted with to the training window's rows and pairs alone.

    Args:
        evidence: the training set that the pairs were made from.
        bundle: folder of the ranking version, with `ranking_inputs`.
        ranking_set: folder of the pairs.
        min_positive_value: training labels below it were left out of the query encoder, which is retrieval's.
    """
    positive = "" if min_positive_value is None else f" AND value >= {float(min_positive_value)}"
    views = {
        "train": "labels WHERE split = 'train'",
        "fitted": f"labels WHERE split = 'train'{positive}",
        PAIRS: f"read_parquet({quote(str(ranking_set / 'train.parquet'))})",
        QUERIES: f"read_parquet({quote(str(ranking_set / 'train_queries.parquet'))}, file_row_number = true)",
    }
    for view, rows in views.items():
        evidence.connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM {rows}")
    findings = [*_late_queries(evidence), *_late_positives(evidence)]
    num_checked = evidence.rows(f"SELECT count(*) FROM {PAIRS}")[0][0]
    inputs = bundle / "ranking_inputs"
    for side, rows in (("query", "fitted"), ("item", "train")):
        for file in sorted((inputs / side).glob("*.parquet")):
            known = pq.read_table(file)["value"]
            num_checked += len(known)
            findings += strangers(evidence, f"ranking_inputs/{side}/{file.stem}", file.stem, known, rows=rows)
    for name, rows, scalers in _scalers(inputs):
        num_checked += len(scalers["fitted"])
        findings += foreign_scalers(evidence, f"ranking_inputs/{name}", scalers, rows=rows)
    question = "Do the ranker's pairs, vocabularies and normalizers hold the training window's values alone?"
    return outcome(NAME, question, num_checked, findings)


def _scalers(inputs: Path) -> Iterator[tuple[str, str, Any]]:
    """Name, view of the rows they must be of, and normalizers: a query's of labels, the others' of pairs."""
    yield "query", "fitted", json.loads((inputs / "query" / "query_encoder.json").read_text())["numbers"]
    yield "item", PAIRS, json.loads((inputs / "item" / "item_encoder.json").read_text())["numbers"]
    yield "pair", PAIRS, json.loads((inputs / "pair.json").read_text())


def _late_queries(evidence: Evidence) -> list[LeakageFinding]:
    """Queries that are no labels of the training window."""
    keys = f"{USER_ID}, {ITEM_ID}, {EVENT_TIMESTAMP}"
    ((num, example),) = evidence.rows(
        f"SELECT count(*), min(user_id || ' at ' || {EVENT_TIMESTAMP}) FROM {QUERIES} ANTI JOIN train USING ({keys})"
    )
    if not num:
        return []
    problem = f"{num} queries that the ranker was trained on are no labels of the training window"
    return [LeakageFinding(feature="queries", problem=problem, example=f"user {example}")]


def _late_positives(evidence: Evidence) -> list[LeakageFinding]:
    """Positive pairs whose event is not in the training window: the model was taught what validation asks."""
    ((num, example),) = evidence.rows(f"""
        SELECT count(*), min(user_id || ' and item ' || {ITEM_ID}) FROM (
            SELECT {USER_ID}, {ITEM_ID}, {EVENT_TIMESTAMP} AS asked_at
            FROM (SELECT query_id, {ITEM_ID} FROM {PAIRS} WHERE label > 0)
            JOIN (SELECT file_row_number AS query_id, {USER_ID}, {EVENT_TIMESTAMP} FROM {QUERIES})
            USING (query_id)
        ) AS positive
        WHERE NOT EXISTS (
            SELECT 1 FROM train
            WHERE train.{USER_ID} = positive.{USER_ID} AND train.{ITEM_ID} = positive.{ITEM_ID}
            AND train.{EVENT_TIMESTAMP} >= positive.asked_at
        )
    """)
    if not num:
        return []
    problem = f"{num} positive pairs have no event of the training window at or after their query"
    return [LeakageFinding(feature="pairs", problem=problem, example=f"user {example}")]
