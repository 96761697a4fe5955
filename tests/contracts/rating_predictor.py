"""What every rating model keeps: it learns a planted pattern, respects its seed, and survives settings and disk."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import TrainingError
from pipelines.models.contexts import Contexts
from pipelines.models.ratings.base import Floats, RatingPredictor, Ratings
from pipelines.models.ratings.catalogue import rating_model

NUM_USERS, NUM_ITEMS = 60, 40


def planted(*, seed: int = 0) -> tuple[Ratings, Ratings]:
    """Return ratings to learn from, and others: biases, two tastes, a little noise; item 0 is rated by nobody.

    Their contexts, two of them, do not matter.
    """
    rng = np.random.default_rng(seed)
    taste = rng.choice([-1.0, 1.0], NUM_USERS)[:, None] * rng.choice([-1.0, 1.0], NUM_ITEMS)
    level = 3 + rng.normal(0, 0.4, NUM_USERS)[:, None] + rng.normal(0, 0.4, NUM_ITEMS)
    values = level + 0.8 * taste + rng.normal(0, 0.1, taste.shape)
    users, items = (codes.ravel() for codes in np.indices(values.shape))
    contexts = Contexts(np.stack([rng.integers(-1, 4, values.size), rng.integers(0, 2, values.size)], axis=1), (4, 2))
    ratings = Ratings(users, items, values.ravel(), NUM_USERS, NUM_ITEMS, contexts=contexts)
    shown = (rng.random(len(ratings)) < 0.5) & (items > 0)
    return ratings.take(shown), ratings.take(~shown & (items > 0))


def error(model: RatingPredictor, ratings: Ratings) -> float:
    return float(np.sqrt(np.mean((predicted(model, ratings) - ratings.values) ** 2)))


def predicted(model: RatingPredictor, ratings: Ratings) -> Floats:
    return model.predict(ratings.users, ratings.items, ratings.contexts)


class RatingPredictorContract:
    """Subclass with `name`, as in the catalogue, settings that make it quick, and the error it reaches.

    Attributes:
        name: of the model.
        settings: over the model's defaults.
        reaches: greatest error on ratings it has not seen; the mean alone reaches 1.1, biases 0.8.
    """

    name: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    reaches: ClassVar[float] = 0.3

    def fitted(self, seed: int = 3) -> RatingPredictor:
        kind = rating_model(self.name)
        model = kind(kind.Settings(**self.settings))
        model.fit(planted()[0], seed=seed)
        return model

    def test_it_predicts_ratings_it_has_not_seen(self) -> None:
        assert error(self.fitted(), planted()[1]) < self.reaches

    def test_equal_seeds_give_equal_predictions(self) -> None:
        asked = planted()[1]
        first, second = self.fitted(), self.fitted()
        np.testing.assert_array_equal(predicted(first, asked), predicted(second, asked))

    def test_an_item_nobody_rated_gets_a_finite_rating_within_the_range(self) -> None:
        seen = planted()[0].values
        found = self.fitted().predict(np.arange(NUM_USERS), np.zeros(NUM_USERS, dtype=np.int64))
        assert np.isfinite(found).all()
        assert seen.min() <= found.min() <= found.max() <= seen.max()

    def test_a_context_that_is_not_known_is_answered(self) -> None:
        asked = planted()[1]
        found = self.fitted().predict(asked.users, asked.items)
        assert np.sqrt(np.mean((found - asked.values) ** 2)) < self.reaches

    def test_saved_and_loaded_it_gives_equal_predictions(self, tmp_path: Path) -> None:
        model, asked = self.fitted(), planted()[1]
        model.save(tmp_path)
        loaded = type(model).load(tmp_path)
        assert loaded.settings == model.settings
        np.testing.assert_array_equal(predicted(loaded, asked), predicted(model, asked))

    def test_settings_survive_a_round_trip_and_refuse_what_they_do_not_know(self) -> None:
        kind = rating_model(self.name)
        settings = kind.Settings(**self.settings)
        assert kind.Settings.model_validate_json(settings.model_dump_json()) == settings
        assert all(field.description for field in kind.Settings.model_fields.values())
        with pytest.raises(ValidationError, match="no_such_setting"):
            kind.Settings(no_such_setting=1)

    def test_the_card_says_what_the_model_is(self) -> None:
        card = rating_model(self.name).card
        assert card.name == self.name
        assert all((card.family, card.needs, card.good_at, card.source))

    def test_nothing_to_learn_from_is_refused(self) -> None:
        nothing = planted()[0].take(np.zeros(0, dtype=np.int64))
        with pytest.raises(TrainingError, match="0 ratings"):
            rating_model(self.name)().fit(nothing, seed=1)
