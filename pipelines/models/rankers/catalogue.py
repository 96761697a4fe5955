"""Every ranking model and ranking loss by name. One is imported when it is asked for, so that names cost nothing."""

from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.config import RankingConfig
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.models.rankers.base import Ranker
    from pipelines.models.rankers.losses import RankingLoss

_PACKAGE = "pipelines.models.rankers"

# Name -> "module:attribute" of this package.
RANKERS: dict[str, str] = {
    "cross": "cross:Cross",
    "deep": "deep:Deep",
    "multi_task": "multi_task:MultiTask",
}
LOSSES: dict[str, str] = {
    "logistic": "losses:LOGISTIC",
    "weighted_logistic": "losses:WEIGHTED_LOGISTIC",
    "softmax": "losses:SOFTMAX",
    "pairwise_logistic": "losses:PAIRWISE_LOGISTIC",
    "pairwise_hinge": "losses:PAIRWISE_HINGE",
    "list_mle": "losses:LIST_MLE",
}


def ranker_class(name: str) -> "type[Ranker]":
    """Return the class of a ranking model.

    Raises:
        ConfigError: no ranking model has the name.
    """
    found: type[Ranker] = _found("ranking.model", name, RANKERS)
    return found


def ranking_loss(name: str) -> "RankingLoss":
    """Return a ranking loss.

    Raises:
        ConfigError: no ranking loss has the name.
    """
    found: RankingLoss = _found("ranking.loss", name, LOSSES)
    return found


def chosen_ranker(config: RankingConfig) -> "tuple[Ranker, RankingLoss]":
    """Return the ranking model of a configuration, with its settings, and what it learns by.

    Raises:
        ConfigError: model or loss are unknown, or a setting is not legal; the message names it.
    """
    kind, loss = ranker_class(config.model), ranking_loss(config.loss)
    try:
        return kind(kind.Settings(**config.settings)), loss
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"ranking.settings do not fit model {config.model!r}: {problems}. See `tandem models --json`; settings of "
            "all ranking models, such as hidden_units, are in `ranking` itself"
        ) from error


def listing() -> list[dict[str, Any]]:
    """Return the cards as JSON-serializable values: of models, with their settings' defaults, and of losses."""
    kinds = [ranker_class(name) for name in RANKERS]
    models = [
        {"kind": "ranking", **asdict(kind.card), "settings": kind.Settings().model_dump(mode="json")} for kind in kinds
    ]
    return models + [{"kind": "ranking loss", **asdict(ranking_loss(name).card), "settings": {}} for name in LOSSES]


def _found(key: str, name: str, known: dict[str, str]) -> Any:
    if name not in known:
        raise ConfigError(f"{key} {name!r} is unknown; expected one of {', '.join(known)}. See `tandem models`")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(f"{_PACKAGE}.{module}"), attribute)
