from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from pipelines.models.holdout import Holdout, measure

START = datetime(2025, 1, 1, tzinfo=UTC)


def events(*rows: tuple[str, str, int]) -> pa.Table:
    """Rows of user, item and day."""
    users, items, days = zip(*rows, strict=True)
    moments = pa.array([START + timedelta(days=day) for day in days], pa.timestamp("us", tz="UTC"))
    return pa.table({"user_id": users, "item_id": items, "event_timestamp": moments})


@pytest.fixture
def holdout() -> Holdout:
    """Training ends with day 10. `old` is busy, `few` has two events, `nobody` none; `late` is first used on day 11."""
    before = events(*(("old", item, day) for day, item in enumerate("abcabc")), ("few", "a", 1), ("few", "late", 11))
    window = events(("old", "late", 20), ("few", "b", 20), ("nobody", "late", 20), ("nobody", "unused", 20))
    items = pa.table(
        {
            "item_id": ["a", "b", "c", "late", "unused"],
            "categories": [["x"], ["x", "y"], ["y"], ["x"], None],
        }
    )
    users = pa.array(["old", "few", "nobody"])
    return Holdout.of(before, window, items, users, trained_until=START + timedelta(days=10), sparse_events=2)


def test_users_are_sliced_by_how_much_was_known_of_them(holdout):
    slices = {name: rows.tolist() for name, rows in holdout.user_slices().items()}
    assert slices == {
        "new users": [False, False, True],
        "sparse users": [False, True, False],
        "existing users": [True, True, False],
    }


def test_users_without_history_are_asked_for_and_new_items_are_candidates(holdout):
    """Neither is left out, so a system that knows them by nothing at all pays for it."""
    assert holdout.users.to_pylist() == ["old", "few", "nobody"]
    assert holdout.relevant[2].tolist() == [False, False, False, True, True]
    found = measure(holdout, np.array([[3], [1], [0]]), (1,))
    assert found.slices["new users"] == {**dict.fromkeys(found.per_user, 0.0), "num_users": 1}
    assert found.overall["recall_at_1"] == pytest.approx((1 + 1 + 0) / 3)
    assert found.slices["new items"]["recall_at_1"] == pytest.approx((1 + 0) / 2)


def test_new_items_are_those_first_used_after_training_not_after_the_cut(holdout):
    assert holdout.item_slices()["new items"].tolist() == [False, False, False, True, True]
    assert holdout.popularity.tolist() == [3, 2, 2, 1, 0]
    parts = sum(rows.astype(int) for name, rows in holdout.item_slices().items() if name != "head items")
    assert (parts <= 1).all()


def test_without_a_training_window_new_is_what_nobody_used(holdout):
    before = events(("old", "a", 1))
    again = Holdout.of(before, events(("old", "late", 20)), holdout.items, holdout.users)
    assert again.new_items.tolist() == [False, True, True, True, True]


def test_categories_are_unit_vectors_for_diversity_and_shares_for_calibration(holdout):
    np.testing.assert_allclose(holdout.category_shares(), [[1, 0], [0.5, 0.5], [0, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(np.linalg.norm(holdout.content(), axis=1), [1, 1, 1, 1, 0])
