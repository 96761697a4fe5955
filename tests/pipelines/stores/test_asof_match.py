"""The newest row of each label's key is the one that a search finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.stores.asof_match import NONE, Ties, newest_rows

HOUR = 3_600_000_000
NEAR, FAR = st.integers(-3, 9), st.sampled_from([-(2**62), 0, 1, HOUR, 2**61, 2**62])
MANY_KEYS = st.sampled_from([0, 1, 2**32 - 1])


def search(rows: list[tuple[int, int]], labels: list[tuple[int, int]]) -> list[int]:
    found = []
    for key, moment in labels:
        seen = [(at, row) for row, (known, at) in enumerate(rows) if known == key and at <= moment]
        found.append(max(seen)[1] if seen else NONE)
    return found


def newest(rows: list[tuple[int, int]], labels: list[tuple[int, int]]) -> list[int]:
    sides = [np.array(side, np.int64).reshape(-1, 2) for side in (rows, labels)]
    return newest_rows(sides[0][:, 0], sides[0][:, 1], sides[1][:, 0], sides[1][:, 1]).tolist()


@pytest.mark.parametrize(
    "pairs", [st.tuples(st.integers(0, 3), NEAR), st.tuples(MANY_KEYS, NEAR), st.tuples(MANY_KEYS, FAR)]
)
def test_every_label_gets_the_row_that_a_search_finds(pairs: st.SearchStrategy[tuple[int, int]]) -> None:
    """Also where keys and moments need more bits than a number has."""

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(rows=st.lists(pairs, unique=True, max_size=12), labels=st.lists(pairs, max_size=12))
    def check(rows: list[tuple[int, int]], labels: list[tuple[int, int]]) -> None:
        assert newest(rows, labels) == search(rows, labels)

    check()


@pytest.mark.parametrize("moment", [7, 2**62], ids=["few bits", "many"])
def test_rows_that_tie_are_refused(moment: int) -> None:
    rows = [(1, 0), (2**32, moment), (5, moment), (2**32, moment)]
    with pytest.raises(Ties):
        newest(rows, [(5, moment)])
    assert newest(rows[:3], [(5, moment)]) == [2]
