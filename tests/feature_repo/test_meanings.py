"""Whoever finds a feature learns what it means and whom to ask."""

import pytest

from feature_repo.repository import declarations
from pipelines.catalogue.definitions import Definition, definitions


@pytest.mark.parametrize("feature", definitions(), ids=lambda feature: feature.name)
def test_a_feature_has_meaning_and_owner(feature: Definition) -> None:
    assert len(feature.meaning.split()) >= 3, f"declare a description for {feature.name} of view {feature.view}"
    assert feature.owner, f"declare an owner for view {feature.view}"
    assert feature.view_meaning


def test_no_two_features_mean_the_same() -> None:
    meanings = [feature.meaning for feature in definitions()]
    assert len(meanings) == len(set(meanings))


def test_a_feature_that_no_service_lists_is_not_declared() -> None:
    assert [feature.name for feature in definitions() if not feature.services] == []


@pytest.mark.parametrize("declared", [d for d in declarations() if hasattr(d, "owner")], ids=lambda d: d.name)
def test_everything_declared_describes_itself(declared: object) -> None:
    assert getattr(declared, "description", "")
