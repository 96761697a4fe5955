"""What one column alone tells of labels: any dependence, and no chance."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.leakage.alone import histogram_auc, most_telling, values_auc

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", ["rising", "falling", "middle", "missing"])
def test_any_shape_of_dependence_is_found(shape: str) -> None:
    x = RNG.random(4_000)
    labels = {"rising": x > 0.5, "falling": x < 0.5, "middle": abs(x - 0.5) < 0.2, "missing": x > 0.5}[shape]
    values = np.where(labels, np.nan, 1.0) if shape == "missing" else x
    assert histogram_auc(values, labels) > 0.98


def test_chance_is_not_mistaken_for_dependence() -> None:
    assert abs(histogram_auc(RNG.random(4_000), RNG.random(4_000) > 0.5) - 0.5) < 0.03
    assert histogram_auc(np.full(50, np.nan), np.arange(50) > 20) == 0.5
    assert histogram_auc(RNG.random(50), np.ones(50, bool)) == 0.5


def test_a_value_among_others_is_found_however_few_rows_lack_it() -> None:
    """A row is told by its most telling value: forty harmless ones beside it hide nothing."""
    labels = RNG.random(2_000) > 0.5
    harmless = RNG.integers(0, 3_000, (2_000, 40)).astype(str).tolist()
    lists = [[*row, "will_churn=yes"] if leak else row for row, leak in zip(harmless, labels, strict=True)]
    assert values_auc(pa.chunked_array([lists]), labels) > 0.98
    assert most_telling(pa.chunked_array([lists]), labels) == "will_churn=yes"
    assert abs(values_auc(pa.chunked_array([harmless]), labels) - 0.5) < 0.04


@pytest.mark.parametrize("shape", ["text", "null text", "empty list", "null list", "null in a list", "many values"])
def test_text_that_gives_labels_away_is_found_in_any_shape(shape: str) -> None:
    labels = RNG.random(4_000) > 0.7
    yes, no = {
        "text": ("yes", "no"),
        "null text": (None, "no"),
        "empty list": ([], ["no"]),
        "null list": (None, ["no"]),
        "null in a list": ([None], ["no"]),
        "many values": ("", ""),
    }[shape]
    rows = [yes if label else no for label in labels]
    if shape == "many values":
        rows = [f"{label} {number}" for label, number in zip(labels, RNG.integers(0, 50, 4_000), strict=True)]
    column = pa.chunked_array([rows[:1_500], rows[1_500:]])
    assert values_auc(column, labels) > 0.98


def test_values_of_one_row_each_tell_nothing() -> None:
    labels = RNG.random(4_000) > 0.5
    assert abs(values_auc(pa.chunked_array([[f"name{n}" for n in range(4_000)]]), labels) - 0.5) < 0.03
    assert values_auc(pa.chunked_array([["a"] * 50]), np.ones(50, bool)) == 0.5
