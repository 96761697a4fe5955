"""A feature that gives the label away is found; an honest one, however good, is not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.leakage.predictive import no_feature_gives_the_label_away
from tests.support.leakage import Built


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


def planted(rows: pa.Table, name: str, high: str, low: str) -> pa.Array:
    """A list feature with one more value a row: `high` where the label's value is."""
    values, lists = rows["value"].to_pylist(), rows[name].to_pylist()
    pairs = zip(lists, values, strict=True)
    return pa.array(
        [[*(old or []), high if (value or 0) > 2.5 else low] for old, value in pairs], pa.list_(pa.string())
    )


@pytest.mark.parametrize("name", ["attributes", "taste_categories"])
def test_a_value_in_a_list_that_gives_the_label_away_is_found(tmp_path: Path, clean: Built, name: str) -> None:
    built = clean.with_column(tmp_path / "set", name, lambda rows: planted(rows, name, "churn=no", "churn=yes"))
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert finding.feature == name
    assert "whether the value is high" in finding.problem
    assert "churn=" in finding.example


@pytest.mark.parametrize("name", ["mood", "device"])
def test_text_that_gives_the_label_away_is_found(tmp_path: Path, clean: Built, name: str) -> None:
    def mood(rows: pa.Table) -> pa.Array:
        return pa.array([None if value is None else f"mood {value}" for value in rows["value"].to_pylist()])

    built = clean.with_column(tmp_path / "set", name, mood)
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert finding.feature == name


def test_a_moment_that_gives_the_label_away_is_found(tmp_path: Path, clean: Built) -> None:
    """Only as seconds before its own label's moment: the moments themselves tell nothing."""

    def planned(rows: pa.Table) -> pa.Array:
        hours = np.where(np.nan_to_num(rows["value"].to_numpy()) > 2.5, 3_600_000_000, 7_200_000_000)
        moments = rows["event_timestamp"].cast(pa.int64()).to_numpy() - hours
        return pa.array(moments).cast(pa.timestamp("us", tz="UTC"))

    built = clean.with_column(tmp_path / "set", "planned_at", planned)
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert finding.feature == "planned_at"


def test_a_word_that_only_used_items_have_is_found(tmp_path: Path, clean: Built) -> None:
    def starred(rows: pa.Table) -> pa.Array:
        return pa.array([f"{title or ''} (sold)" for title in rows["title"].to_pylist()])

    built = clean.with_column(tmp_path / "set", "title", starred)
    (finding,) = no_feature_gives_the_label_away(built.evidence()).findings
    assert (finding.feature, "most by 'sold'" in finding.example) == ("title", True)


def test_every_feature_is_tried_or_named(clean: Built) -> None:
    check = no_feature_gives_the_label_away(clean.evidence())
    tried = {name.split(", ")[0] for name in check.figures}
    assert {"attributes", "taste_categories", "title", "categories", "device", "last_known_at"} <= tried
    assert "taste_weights" in check.note
