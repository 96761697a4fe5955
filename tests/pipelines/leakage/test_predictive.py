"""A feature that gives the label away is found; an honest one, however good, is not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.leakage.predictive import histogram_auc, no_feature_gives_the_label_away
from tests.support.leakage import Built

RNG = np.random.default_rng(0)


def test_clean_features_pass(clean: Built) -> None:
    check = no_feature_gives_the_label_away(clean.evidence())
    assert check.findings == ()
    assert {"taste_match, item used", "item_num_events, item used", "user_mean_value, value"} <= set(check.figures)
    assert all(0 <= area < 0.9 for area in check.figures.values())


def test_the_labels_value_as_a_feature_is_found(tmp_path: Path, clean: Built) -> None:
    built = clean.with_column(tmp_path / "set", "mood", lambda rows: rows["value"].combine_chunks())
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert finding.feature == "mood"
    assert "whether the value is high" in finding.problem


def test_a_history_that_holds_the_label_is_found(tmp_path: Path, clean: Built) -> None:
    def with_own(rows: pa.Table) -> pa.Array:
        pairs = zip(rows["recent_items"].to_pylist(), rows["item_id"].to_pylist(), strict=True)
        return pa.array([[item] for _, item in pairs], pa.list_(pa.string()))

    built = clean.with_column(tmp_path / "set", "recent_items", with_own)
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert finding.feature == "recent_items has the item"
    assert "the item used from another one" in finding.problem


def test_a_feature_that_only_used_items_have_is_found(clean: Built) -> None:
    """Where other items have no value at all, what is missing tells which item was used."""
    lake, features = clean.workspace.lake, clean.training_set.features
    table = lake.read("features/item_popularity", version=features.versions["item_popularity"])
    version = lake.overwrite("features/item_popularity", table.schema.empty_table())
    versions = features.versions | {"item_popularity": version}
    findings = no_feature_gives_the_label_away(
        clean.evidence(features=features.model_copy(update={"versions": versions}))
    ).findings
    assert {finding.feature for finding in findings} >= {"item_num_events", "item_num_events_30d"}


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
