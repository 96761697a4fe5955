"""The configuration of a trial: a search's own, with the settings that the trial tries."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipelines.config import RetrievalConfig
from pipelines.errors import ConfigError
from pipelines.search.space import SECTION, Space
from pipelines.steps.train_retrieval import chosen_model


def with_settings(config: RetrievalConfig, values: Mapping[str, Any]) -> RetrievalConfig:
    """Return a configuration with some settings changed, dotted key -> value.

    Raises:
        ConfigError: a key is unknown or a value is not legal; the message names it.
    """
    changed = config.model_dump()
    for key, value in values.items():
        _assign(changed, key, value)
    try:
        found = RetrievalConfig.model_validate(changed)
    except ValidationError as error:
        problems = "; ".join(f"{SECTION}{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{problems}. See docs/configuration.md for the legal keys") from error
    chosen_model(found)
    return found


def check_space(space: Space, config: RetrievalConfig) -> None:
    """Raise ConfigError, naming the setting, unless every end and choice is legal beside the rest."""
    for dimension in space.dimensions:
        for value in dimension.ends():
            with_settings(config, {dimension.key: value})


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.removeprefix(SECTION).split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key} is not a setting: {section} holds a value, not a section. See `tandem models`")
    values[name] = value
