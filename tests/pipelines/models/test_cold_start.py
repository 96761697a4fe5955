import pytest

from pipelines.config import ColdStartConfig
from pipelines.models.cold_start import NEW_ITEMS, NEW_USERS, SPARSE_USERS, as_json, goals

METRIC = "ndcg_at_10"


def slices(new: float, sparse: float, items: float, *, popularity: float = 0.04, num_users: float = 12.0) -> dict:
    figures = {NEW_USERS: new, SPARSE_USERS: sparse, NEW_ITEMS: items}
    return {
        name: {
            "recommender": {METRIC: value, "num_users": num_users},
            "popularity": {METRIC: popularity, "num_users": num_users},
        }
        for name, value in figures.items()
    }


def found(*values: float, **changes: float) -> dict:
    config = ColdStartConfig(sparse_users=0.1)
    return {goal.slice: goal for goal in goals(slices(*values, **changes), "recommender", METRIC, config)}


def test_each_slice_has_its_own_goal():
    by_slice = found(0.04, 0.043, 0.05)
    assert {name: goal.met for name, goal in by_slice.items()} == {
        NEW_USERS: True,
        SPARSE_USERS: False,
        NEW_ITEMS: True,
    }
    assert by_slice[SPARSE_USERS].lift == 0.1


def test_finding_nothing_meets_no_goal():
    assert found(0, 0, 0, popularity=0)[NEW_ITEMS].met is False


def test_an_empty_slice_is_neither_met_nor_missed():
    goal = found(0, 0, 0, num_users=0)[NEW_USERS]
    assert goal.met is None
    assert "not measured" in goal.sentence("recommender", METRIC)


@pytest.mark.parametrize(("value", "words"), [(0.05, "goal met"), (0.03, "goal not met")])
def test_it_is_said_in_words(value, words):
    sentence = found(value, value, value)[NEW_USERS].sentence("recommender", METRIC)
    assert sentence == (
        f"New users (no history: attributes and context alone), 12 users: recommender {value:.4f} against popularity "
        f"0.0400 on ndcg_at_10, wanted at least that: {words}."
    )


def test_the_report_has_the_goal_beside_the_figures():
    report = as_json(goals(slices(0.05, 0.05, 0.03), "recommender", METRIC, ColdStartConfig()), METRIC)
    assert report[NEW_ITEMS] == {
        "metric": METRIC, "num_users": 12, "value": 0.03, "popularity": 0.04, "lift": 0.0, "met": False
    }  # fmt: skip
