"""Every model of a catalogue has a class of tests that inherits its contract."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.models.rankers.catalogue import RANKERS
from pipelines.models.ratings.catalogue import RATING_MODELS
from pipelines.models.retrievers.catalogue import MODELS
from tests.contracts import ranker, rating_predictor, retriever

MODEL_TESTS = Path(__file__).parents[1] / "pipelines" / "models"
CASES = {
    "retrievers": ("retrievers", retriever.RetrieverContract, MODELS),
    "rankers": ("rankers", ranker.RankerContract, RANKERS),
    "ratings": ("ratings", rating_predictor.RatingPredictorContract, RATING_MODELS),
}
# Model -> why it has none.
WITHOUT = {
    "two_tower": "learns from features, not from sequences; tests/pipelines/models/test_retrieval.py has its tests"
}
# Names that tests add to a catalogue for as long as they run.
ADDED = {"together", "wide"}


def models_with_tests(folder: str, contract: type) -> set[str]:
    """Return the models whose tests inherit a contract."""
    for file in sorted((MODEL_TESTS / folder).glob("test_*.py")):
        import_module(f"tests.pipelines.models.{folder}.{file.stem}")
    return {named(kind) for kind in below(contract)} - {None}


def named(kind: Any) -> str | None:
    """Return the model of a class of tests; an abstract one has none."""
    return getattr(kind, "name", None) or getattr(kind, "model", None) if kind.__name__.startswith("Test") else None


def below(kind: type) -> Iterator[type]:
    """Yield all that inherit a class."""
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


@pytest.mark.parametrize("case", CASES)
def test_every_model_has_one(case):
    folder, contract, catalogue = CASES[case]
    names = models_with_tests(folder, contract) - ADDED
    missing = set(catalogue) - names - set(WITHOUT)
    assert not missing, f"{missing} have no test class below {contract.__name__} in {MODEL_TESTS / folder}"
    assert names <= set(catalogue)


def test_what_is_left_out_is_still_there():
    assert set(WITHOUT) <= set(MODELS)
