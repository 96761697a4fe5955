"""On-demand features: whole columns, the same for one row as for many."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.features import frames
from pipelines.features.on_demand import days_since_last_event, request_context, taste_match

UTC_US = pa.timestamp("us", tz="UTC")
STRINGS, FLOATS = pa.list_(pa.string()), pa.list_(pa.float32())


def test_hour_and_weekday_in_utc() -> None:
    moments = [datetime(1969, 12, 31, 23, 59, tzinfo=UTC), datetime(2024, 2, 29, 0, 0, tzinfo=UTC), None]
    context = request_context(pa.array(moments, UTC_US))
    assert context["hour"].to_pylist() == [23, 0, None]
    assert context["weekday"].to_pylist() == [moments[0].weekday(), moments[1].weekday(), None]


@given(st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)))
def test_context_equals_the_calendar(moment: datetime) -> None:
    context = request_context(pa.array([moment], pa.timestamp("us")))
    assert (context["hour"][0].as_py(), context["weekday"][0].as_py()) == (moment.hour, moment.weekday())


def test_days_since_the_last_event() -> None:
    now = datetime(2024, 1, 3, tzinfo=UTC)
    days = days_since_last_event(pa.array([now, now], UTC_US), pa.array([now - timedelta(hours=36), None], UTC_US))
    assert days.type == pa.float32()
    assert days.to_pylist() == [1.5, None]


CASES = [
    (["a", "b"], [0.5, 0.25], ["b"], 0.25),
    (["a", "b"], [0.5, 0.25], ["b", "c", "a"], 0.75),
    (["a"], [0.5], ["c"], 0.0),
    (["a"], [0.5], [], 0.0),
    ([], [], ["a"], 0.0),
    (["a"], [0.5], None, 0.0),
    (None, None, ["a"], 0.0),
    ([None], [0.5], [None], 0.0),
]


def columns(cases: list[tuple[object, ...]]) -> tuple[pa.Array, pa.Array, pa.Array]:
    categories, weights, items, _ = zip(*cases, strict=True)
    return pa.array(categories, STRINGS), pa.array(weights, FLOATS), pa.array(items, STRINGS)


def test_taste_match() -> None:
    match = taste_match(*columns(CASES))
    assert match.dtype == np.float32
    assert match.tolist() == [case[-1] for case in CASES]
    assert taste_match(*columns(CASES[:0] or [([], [], [], 0.0)])).tolist() == [0.0]


def test_taste_match_of_chunks_and_slices() -> None:
    whole = columns(CASES)
    chunked = [pa.chunked_array([column.slice(0, 3), column.slice(3)]) for column in whole]
    assert taste_match(*chunked).tolist() == taste_match(*whole).tolist()
    assert taste_match(*(column.slice(1, 2) for column in whole)).tolist() == [0.75, 0.0]
    assert taste_match(*(column.slice(0, 0) for column in whole)).tolist() == []


LISTS = st.lists(st.sampled_from("abcdef"), max_size=5, unique=True)
WEIGHTS = st.floats(0, 1, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(LISTS, st.lists(WEIGHTS, min_size=5, max_size=5), LISTS), min_size=1, max_size=8))
def test_one_row_gives_what_it_gave_among_many(drawn: list[tuple[list[str], list[float], list[str]]]) -> None:
    rows = [(taste, weights[: len(taste)], item, None) for taste, weights, item in drawn]
    together = taste_match(*columns(rows))
    alone = np.concatenate([taste_match(*columns([row])) for row in rows])
    assert together.tobytes() == alone.tobytes()
    expected = [sum(dict(zip(t, w, strict=True)).get(c, 0.0) for c in i) for t, w, i, _ in rows]
    np.testing.assert_allclose(together, expected, rtol=1e-6)


@pytest.mark.parametrize("mapper", [pd.ArrowDtype, None], ids=["arrow", "objects"])
def test_frames_of_either_kind_give_the_same(mapper: object) -> None:
    taste, weights, items = columns(CASES[:6])
    now = datetime(2024, 1, 3, 4, tzinfo=UTC)
    table = pa.table(
        {
            "taste_categories": taste,
            "taste_weights": weights,
            "categories": items,
            "request_timestamp": pa.array([now] * 6, UTC_US),
            "last_known_at": pa.array([now - timedelta(days=2)] * 5 + [None], UTC_US),
        }
    )
    inputs = table.to_pandas(types_mapper=mapper).set_index(pd.Index(range(10, 16)))
    assert frames.taste_match(inputs)["taste_match"].tolist() == [case[-1] for case in CASES[:6]]
    assert frames.request_context(inputs)["hour"].tolist() == [4] * 6
    days = frames.days_since_last_event(inputs)["days_since_last_event"]
    assert days.tolist()[:5] == [2.0] * 5
    assert np.isnan(days.tolist()[5])
    assert days.index.equals(inputs.index)
