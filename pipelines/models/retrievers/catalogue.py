"""Every retrieval model by name. A model is imported when it is asked for, so that names cost nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.errors import ConfigError

if TYPE_CHECKING:
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
    "biased_factors": "rated:RatedFactors",
    "camf": "rated:RatedCamf",
    "context_lift": "context_lift:ContextLift",
    "item2vec": "item2vec:Item2Vec",
    "profile": "profile:Profile",
    "youtube": "youtube:YouTube",
    "id_two_tower": "id_two_tower:IdTwoTower",
    "blend": "blend:Blend",
    "gru": "gru:GRU",
    "sasrec": "sasrec:SASRec",
    "hstu": "hstu:HSTU",
}


# Of cards' families: counted or solved in closed form within seconds; networks, which should be better than those.
SIMPLE_FAMILIES = frozenset({"baseline", "neighbourhood", "linear"})
DEEP_FAMILIES = frozenset({"deep", "sequential"})
FAMILIES = SIMPLE_FAMILIES | DEEP_FAMILIES | {"factorization", "embedding", "context", "fusion"}


def family_of(name: str) -> str | None:
    """Return the family of a model; None for a name of no model, such as one that a stored report has kept."""
    return str(model_class(name).card.family) if name in MODELS else None


def model_class(name: str) -> Any:
    """Return the class of a model; it has a `card`.

    Raises:
        ConfigError: no model has the name.
    """
    if name not in MODELS:
        raise ConfigError(f"model {name!r} is unknown; expected one of {', '.join(MODELS)}. See `tandem models`")
    module, _, attribute = MODELS[name].partition(":")
    return getattr(import_module(module if "." in module else f"{_PACKAGE}.{module}"), attribute)


def retriever_class(name: str) -> "type[Retriever]":
    """Return the class of a model that learns from sequences of items alone.

    Raises:
        ConfigError: no model has the name, or it learns from features instead.
    """
    from pipelines.models.retrievers.base import Retriever

    found: type[Retriever] = model_class(name)
    if not issubclass(found, Retriever):
        raise ConfigError(
            f"model {name!r} learns from features, not from sequences alone; train it by `tandem train {name}`"
        )
    return found


def configured_class(name: str) -> "type[Retriever]":
    """Return the class that a configuration names: of the catalogue, or elsewhere, as `package.module:Class`.

    Give it what the configuration of this run says and nothing that was stored with a model: a module is imported,
    which runs it.

    Raises:
        ConfigError: no model has the name, there is no such module or class, or it is no retriever.
    """
    if ":" not in name:
        return retriever_class(name)
    from pipelines.models.retrievers.base import Retriever

    found = _imported(name)
    if not (isinstance(found, type) and issubclass(found, Retriever)) or isabstract(found):
        raise ConfigError(
            f"retrieval.model {name!r} is no retriever; expected a subclass of `pipelines.models.retrievers.base."
            "Retriever` with all its methods. See docs/models.md, Add a model in a file and a config"
        )
    if missing := [needed for needed in ("card", "Settings") if not hasattr(found, needed)]:
        raise ConfigError(f"retrieval.model {name!r} lacks {' and '.join(missing)}; expected both. See docs/models.md")
    return found


def _imported(name: str) -> Any:
    """Return the attribute that `package.module:Class` names."""
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"retrieval.model is {name!r}; expected a name of `tandem models`, or package.module:Class")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError as error:
        raise ConfigError(
            f"retrieval.model is {name!r}, and importing module {module!r} found no {attribute!r} ({error}); expected "
            "a class of that name in it. Mend the name, or the module"
        ) from error
    except (ImportError, SyntaxError) as error:
        raise ConfigError(
            f"retrieval.model is {name!r}, and module {module!r} cannot be imported ({error}); expected one that "
            "Python finds where models are trained. Put its folder into PYTHONPATH there"
        ) from error


def cards() -> "list[ModelCard]":
    """Return the card of each model, in order of the list."""
    return [model_class(name).card for name in MODELS]


def listing() -> list[dict[str, Any]]:
    """Return the cards as JSON-serializable values, each with its settings' defaults, its presets and its space."""
    return [
        asdict(card)
        | {"settings": _defaults(card.name)}
        | {"presets": model_class(card.name).presets, "space": model_class(card.name).space}
        for card in cards()
    ]


def retriever_settings(name: str, preset: str | None, given: Mapping[str, Any], *, kind: Any = None) -> Any:
    """Return the settings of a model: its defaults, changed by a preset, changed by those given.

    Args:
        name: of the model.
        preset: of the model.
        given: setting -> value.
        kind: the class where it is not of the catalogue.

    Raises:
        ConfigError: the preset is unknown, or a setting is not legal; the message names it.
    """
    kind = kind or retriever_class(name)
    if preset is not None and preset not in kind.presets:
        known = ", ".join(kind.presets) or "none"
        raise ConfigError(f"model {name!r} has no preset {preset!r}; expected one of: {known}. See `tandem models`")
    try:
        return kind.Settings(**{**(kind.presets[preset] if preset else {}), **given})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"retrieval.settings do not fit model {name!r}: {problems}. See `tandem models --json`"
        ) from error


def _defaults(name: str) -> dict[str, Any]:
    defaults: dict[str, Any] = model_class(name).Settings().model_dump(mode="json")
    return defaults
