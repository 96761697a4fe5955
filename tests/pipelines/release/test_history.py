import pytest

from pipelines.release.history import History, Move
from tests.support.promoting import NOW


def history(text, champion):
    """Moves such as `1>2`, a promotion, or `2<3`, a rollback to 2; `-` is no champion."""
    moves = []
    for number, step in enumerate(text.split(), start=1):
        back = "<" in step
        one, other = (None if v == "-" else v for v in step.replace("<", ">").split(">"))
        version, previous = (one, other) if back else (other, one)
        kind = "rollback" if back else "promotion"
        moves.append(
            Move(number=number, kind=kind, version=version, previous=previous, reason="", by="", at=NOW, run="")
        )
    return History(tuple(moves), None, champion)


@pytest.mark.parametrize(
    ("moves", "champion", "before"),
    [
        ("", None, None),
        ("", "3", None),
        ("->1", "1", None),
        ("->1 1>2 2>3", "3", "2"),
        ("->1 1>2 2>3 2<3", "2", "1"),
        ("->1 1>2 2>3 2<3 1<2", "1", None),
        ("->1 1>2 2>3 1<3 3<1", "3", "1"),  # there and back: the way goes on from where it was
        ("->1 1>2 2>3 3>2 3<2", "3", "2"),  # promoted a second time
        ("->1 1>2 1<2 1>4", "4", "1"),
        ("->1", "2", "1"),  # somebody set the alias in MLflow since
        ("->1 1>2 2>3", "2", "1"),  # the same, back
        ("->1 5>6", "6", "5"),  # the same, in between
        ("->1 1>2", None, "2"),  # somebody took the alias away
    ],
)
def test_going_back_never_leads_forward(moves, champion, before):
    assert history(moves, champion).release_before() == before


@pytest.mark.parametrize(
    ("moves", "taken_back"),
    [("->1 1>2", False), ("->1 1>2 1<2", True), ("->1 1>2 1<2 2<1", False), ("->1 1>2 1<2 1>2", False), ("", False)],
)
def test_a_release_that_was_left_is_known_until_it_comes_back(moves, taken_back):
    assert (history(moves, None).taken_back("2") is not None) == taken_back


def test_numbers_go_on_after_what_was_kept():
    assert history("", None).next_number == 1
    assert history("->1 1>2", "2").next_number == 3
