from datetime import timedelta

import numpy as np
import pyarrow as pa

from pipelines.models.interactions import Timeline, codes, incidence, spans

CORPUS = pa.array(["a", "b", "c"])


def timeline() -> Timeline:
    users = pa.array(["u", "v", "u", "u", "v"])
    moments = pa.array([n * 1_000_000 for n in range(5)]).cast(pa.timestamp("us", tz="UTC"))
    return Timeline.of(users, pa.array(["a", "b", "b", "c", "gone"]), pa.array([1.0, None, 3.0, 4.0, 5.0]), moments)


def test_codes_are_positions_and_minus_one_for_unknown():
    assert codes(pa.chunked_array([["c"], ["x", "a"]]), CORPUS).tolist() == [2, -1, 0]


def test_incidence_leaves_out_what_is_unknown():
    assert incidence(np.array([0, -1, 1]), np.array([1, 0, -1]), (2, 2)).tolist() == [[False, True], [False, False]]


def test_spans_list_ranges_and_their_owner():
    numbers, owner = spans(np.array([3, 7, 1]), np.array([5, 7, 2]))
    assert numbers.tolist() == [3, 4, 1]
    assert owner.tolist() == [0, 0, 2]


def test_before_is_what_the_user_had_done_and_not_the_event_itself():
    assert timeline().before(np.array([0, 3, 4]), CORPUS).tolist() == [
        [False, False, False], [True, True, False], [False, True, False],
    ]  # fmt: skip


def test_following_starts_with_the_event_and_ends_after_a_while():
    mask, values = timeline().following(np.array([0, 1]), CORPUS, within=timedelta(seconds=2))
    assert mask.tolist() == [[True, True, False], [False, True, False]]
    np.testing.assert_array_equal(values, [[1.0, 3.0, np.nan], [np.nan, np.nan, np.nan]])


def test_following_never_runs_into_the_next_user():
    mask, _ = timeline().following(np.array([3]), CORPUS, within=timedelta(days=10_000))
    assert mask.tolist() == [[False, False, True]]
