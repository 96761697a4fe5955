"""The yaml that configures Feast in a profile, completed with what only the process knows."""

import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from pipelines.config import REPOSITORY
from pipelines.errors import ConfigError

EMBEDDED_YAML = REPOSITORY / "feature_repo" / "feature_store.embedded.yaml"


def read_profile(file: Path, values: Mapping[str, str]) -> dict[str, Any]:
    """Read a Feast yaml, with `${NAME}` filled from `values`, then from the environment.

    Raises:
        ConfigError: the file is missing, or names a variable that is not set.
    """
    import yaml

    try:
        settings = yaml.safe_load(file.read_text())
        filled: dict[str, Any] = _fill(settings, {**os.environ, **values})
    except FileNotFoundError as error:
        raise ConfigError(f"Feast configuration {file} does not exist; check services.feature_store_yaml") from error
    except KeyError as error:
        raise ConfigError(f"{file} needs the environment variable {error}, which is not set; export it") from error
    return filled


def _fill(setting: Any, values: Mapping[str, str]) -> Any:
    # After parsing: a path or password may hold characters that mean something to YAML.
    if isinstance(setting, dict):
        return {key: _fill(value, values) for key, value in setting.items()}
    return Template(setting).substitute(values) if isinstance(setting, str) else setting
