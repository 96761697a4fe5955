"""Do vocabularies and normalizers of a model know anything but the training window?

Read from the bundle's files and compared with the training rows by SQL and numpy: the code that fits takes no part.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import LeakageCheck, LeakageFinding
from pipelines.inputs.text import tokenize
from pipelines.leakage.evidence import Evidence, outcome

NAME = "fitted_on_the_training_window"
SOURCES = {
    "user": ("user_id",),
    "item": ("item_id",),
    "device": ("device",),
    "attribute": ("attributes",),
    "category": ("categories",),
    "token": ("title", "text"),
}
"""Vocabulary -> columns that its values come from."""


def fitted_on_the_training_window(
    evidence: Evidence, bundle: Path, *, min_positive_value: float | None
) -> LeakageCheck:
    """Compare what a retrieval bundle was fitted with to the training rows alone.

    Args:
        evidence: the training set.
        bundle: folder of the model version, with `query_inputs` and `item_inputs`.
        min_positive_value: training labels below it were left out, as the model's configuration says.
    """
    positive = "" if min_positive_value is None else f" AND value >= {float(min_positive_value)}"
    evidence.connection.execute(
        f"CREATE OR REPLACE TEMP VIEW fitted AS SELECT * FROM labels WHERE split = 'train'{positive}"
    )
    findings, num_checked = _until(evidence, bundle), 1
    for folder in sorted(bundle.glob("*_inputs")):
        for file in sorted(folder.glob("*.parquet")):
            known = pq.read_table(file)["value"]
            num_checked += len(known)
            findings += strangers(evidence, f"{folder.name}/{file.stem}", file.stem, known)
        for manifest in sorted(folder.glob("*_encoder.json")):
            scalers = json.loads(manifest.read_text())["numbers"]
            num_checked += len(scalers["fitted"])
            findings += foreign_scalers(evidence, folder.name, scalers)
    question = "Do vocabularies and normalizers of the model hold the training window's values and statistics alone?"
    return outcome(NAME, question, num_checked, findings)


def _until(evidence: Evidence, bundle: Path) -> list[LeakageFinding]:
    """The window that the bundle names ends where validation begins."""
    until = datetime.fromisoformat(json.loads((bundle / "bundle.json").read_text())["fitted_until"])
    limit = evidence.training_set.validation_start
    if until <= limit:
        return []
    problem = f"the model was fitted until {until.isoformat()}; validation begins at {limit.isoformat()}"
    return [LeakageFinding(feature="fitted_until", problem=problem, example=str(bundle / "bundle.json"))]


def strangers(
    evidence: Evidence, feature: str, vocabulary: str, known: pa.ChunkedArray, *, rows: str = "fitted"
) -> list[LeakageFinding]:
    """Values of a vocabulary that no training row has.

    Args:
        evidence: the training set.
        feature: what the finding is named.
        vocabulary: one of `SOURCES`.
        known: its values.
        rows: view of the rows that it may be fitted on.
    """
    seen = _training_values(evidence, vocabulary, rows)
    evidence.connection.register("vocabulary", pa.table({"value": known}))
    evidence.connection.register("seen_values", pa.table({"value": seen}))
    ((num, example),) = evidence.rows("SELECT count(*), min(value) FROM vocabulary ANTI JOIN seen_values USING (value)")
    if not num:
        return []
    problem = f"{num} of {len(known)} values are in no training row"
    return [LeakageFinding(feature=feature, problem=problem, example=f"value {example!r}")]


def _training_values(evidence: Evidence, vocabulary: str, rows: str) -> pa.Array:
    kinds, parts = evidence.columns(), []
    for name in SOURCES[vocabulary]:
        value = f"unnest({name})" if kinds[name].endswith("[]") else name
        parts.append(f"SELECT DISTINCT {value} AS value FROM {rows}")
    found = evidence.connection.sql(" UNION ".join(parts)).to_arrow_table()["value"].combine_chunks()
    return tokenize(found).flatten().unique() if vocabulary == "token" else found


def foreign_scalers(
    evidence: Evidence, folder: str, scalers: Mapping[str, Any], *, rows: str = "fitted"
) -> list[LeakageFinding]:
    """Statistics that are not those of the training rows.

    Args:
        evidence: the training set.
        folder: what the findings are named.
        scalers: what `NumberEncoder.to_dict` gave.
        rows: view of the rows that they must be of.
    """
    findings = []
    for name, fitted in scalers["fitted"].items():
        column = evidence.connection.sql(f'SELECT "{name}" FROM {rows}').to_arrow_table()[name]
        raw = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        scale = scalers["scales"][name]
        raw = np.where(np.isnan(raw), 0.0, raw) if scale == "count" else raw  # nothing was counted
        raw = raw[np.isfinite(raw)]
        values = raw if scale == "linear" else np.log1p(np.maximum(raw, 0))
        expected = _statistics(values)
        if "edges" in scalers:
            fitted = fitted | _named(scalers["edges"][name])
            expected |= _named(_quantiles(values, len(scalers["edges"][name]) + 1))
        wrong = {key: value for key, value in expected.items() if not np.isclose(fitted[key], value, 1e-6, 1e-9)}
        if wrong:
            key, value = next(iter(wrong.items()))
            problem = f"its {', '.join(wrong)} are not those of the training rows"
            example = f"{key} is {fitted[key]:.6g}; {value:.6g} on the training rows"
            findings.append(LeakageFinding(feature=f"{folder}/{name}", problem=problem, example=example))
    return findings


def _named(edges: Iterable[float]) -> dict[str, float]:
    return {f"edge {number}": float(edge) for number, edge in enumerate(edges, start=1)}


def _quantiles(values: Any, num_bins: int) -> Any:
    """Where equally many values lie on either side of each edge, as SQL's quantile_cont has it."""
    ordered = np.sort(values) if values.size else np.zeros(1)
    place = np.arange(1, num_bins) / num_bins * (len(ordered) - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _statistics(values: Any) -> dict[str, float]:
    if not values.size:
        return {"mean": 0.0, "low": 0.0, "high": 0.0}
    spread = float(values.std())
    return {
        "mean": float(values.mean()),
        "std": spread if spread > 1e-6 else 1.0,
        "low": float(values.min()),
        "high": float(values.max()),
    }
