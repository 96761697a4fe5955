"""Every error has a status, an exit code, and its place in the drawn tree."""

from pipelines import errors
from pipelines.errors import TandemError

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, TandemError)]


def test_every_class_is_drawn_with_its_status() -> None:
    drawn = {line.split()[1]: line for line in (errors.__doc__ or "").splitlines() if "──" in line}
    for error in CLASSES:
        if error is not TandemError:
            assert str(error.status_code) in drawn[error.__name__], error.__name__
            assert ("(retryable)" in drawn[error.__name__]) == error.retryable, error.__name__
    assert set(drawn) == {error.__name__ for error in CLASSES if error is not TandemError}


def test_the_callers_fault_exits_with_2_all_else_with_1() -> None:
    for error in CLASSES:
        assert error("x").exit_code == (2 if error.status_code < 500 else 1), error.__name__
