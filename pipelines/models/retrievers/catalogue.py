"""Every retrieval model by name. A model is imported when it is asked for, so a list costs no Keras."""

from dataclasses import asdict
from importlib import import_module
from typing import Any

from pipelines.errors import ConfigError
from pipelines.models.retrievers.base import ModelCard, Retriever

_PACKAGE = "pipelines.models.retrievers"
TWO_TOWER = "two_tower"

# Name -> "module:Class"; a name without a dot is a module of this package.
MODELS: dict[str, str] = {
    TWO_TOWER: "pipelines.models.retrieval:TwoTowerModel",
    "popularity": "popularity:Popularity",
    "recent_history": "recent_history:RecentHistory",
    "random": "random_order:RandomOrder",
    "transitions": "transitions:Transitions",
    "linear_transitions": "linear_transitions:LinearTransitions",
    "ease": "ease:Ease",
    "item_neighbours": "item_neighbours:ItemNeighbours",
    "user_neighbours": "user_neighbours:UserNeighbours",
    "svd": "svd:Svd",
    "als": "als:Als",
    "bpr": "bpr:Bpr",
    "blend": "blend:Blend",
}


def model_class(name: str) -> Any:
    """Return the class of a model; it has a `card`.

    Raises:
        ConfigError: no model has the name.
    """
    if name not in MODELS:
        raise ConfigError(f"model {name!r} is unknown; expected one of {', '.join(MODELS)}. See `tandem models`")
    module, _, attribute = MODELS[name].partition(":")
    return getattr(import_module(module if "." in module else f"{_PACKAGE}.{module}"), attribute)


def retriever_class(name: str) -> type[Retriever]:
    """Return the class of a model that learns from sequences of items alone.

    Raises:
        ConfigError: no model has the name, or it learns from features instead.
    """
    found: type[Retriever] = model_class(name)
    if not issubclass(found, Retriever):
        raise ConfigError(
            f"model {name!r} learns from features, not from sequences alone; train it by `tandem train {name}`"
        )
    return found


def cards() -> list[ModelCard]:
    """Return the card of each model, in order of the list."""
    return [model_class(name).card for name in MODELS]


def listing() -> list[dict[str, Any]]:
    """Return the cards as JSON-serializable values, each with its settings and their defaults."""
    return [asdict(card) | {"settings": _defaults(card.name)} for card in cards()]


def _defaults(name: str) -> dict[str, Any]:
    defaults: dict[str, Any] = model_class(name).Settings().model_dump(mode="json")
    return defaults
