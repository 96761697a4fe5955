"""Every rating model by name; a model is imported when it is asked for."""

from importlib import import_module

from pipelines.errors import ConfigError
from pipelines.models.ratings.base import RatingPredictor

_PACKAGE = "pipelines.models.ratings"

# Name -> "module:Class" of this package.
RATING_MODELS: dict[str, str] = {
    "biases": "biases:Biases",
    "biased_factors": "biased_factors:BiasedFactors",
    "bayesian_factors": "bayesian_factors:BayesianFactors",
    "camf": "camf:Camf",
    "splitting": "splitting:Splitting",
}


def rating_model(name: str) -> type[RatingPredictor]:
    """Return the class of a rating model.

    Raises:
        ConfigError: no rating model has the name.
    """
    if name not in RATING_MODELS:
        raise ConfigError(f"rating model {name!r} is unknown; expected one of {', '.join(RATING_MODELS)}")
    module, _, attribute = RATING_MODELS[name].partition(":")
    found: type[RatingPredictor] = getattr(import_module(f"{_PACKAGE}.{module}"), attribute)
    return found
