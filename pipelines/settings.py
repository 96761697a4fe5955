"""Reading the configuration: once by an entrypoint, never by a step.

Precedence: section defaults < YAML file < environment `TANDEM_SECTION__FIELD` < explicit overrides
(command-line flags or DAG parameters). Unknown keys are errors that name the key. Secrets live only in the
environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config import MOVIELENS_SIZES, REPOSITORY, Config
from pipelines.errors import ConfigError

DEFAULT_CONFIG = REPOSITORY / "configs" / "default.yaml"
SHORT_NAMES = {"TANDEM_HOME": "home", "TANDEM_DATASET": "dataset", "TANDEM_ENGINE": "features.engine"}


def load_config(file: Path | str | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Resolve the configuration.

    Args:
        file: YAML file; None reads `configs/default.yaml`.
        overrides: dotted key -> value, such as `{"source.kind": "movielens"}`. None values are ignored.

    Raises:
        ConfigError: the file is missing or malformed, or a key or value is not legal; the message names it.
    """
    values = _read_yaml(Path(file) if file else DEFAULT_CONFIG)
    for key, value in environment_settings().items():
        _assign(values, key, value)
    for key, value in (overrides or {}).items():
        if value is not None:
            _assign(values, key, value)
    source = values.get("source") or {}
    values["dataset"] = values.get("dataset") or _default_dataset(source)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def source_overrides(name: str, data: str | None = None, mapping: str | None = None) -> dict[str, Any]:
    """Turn a source's short name into overrides.

    Args:
        name: `synthetic`, `movielens-100k`, `movielens-1m`, `movielens-20m`, `movielens-32m`, `csv` or `parquet`.
        data: folder with its files; optional for synthetic and MovieLens.
        mapping: mapping file of a csv or parquet source.

    Raises:
        ConfigError: the name is unknown, or a csv or parquet source has no folder.
    """
    kind, _, size = name.partition("-")
    known = ["synthetic", *(f"movielens-{s}" for s in MOVIELENS_SIZES), "csv", "parquet"]
    if name not in known:
        raise ConfigError(f"source {name!r} is unknown; expected one of {', '.join(known)}")
    if kind in ("csv", "parquet") and not data:
        raise ConfigError(f"source {name!r} needs a folder; pass DATA=<folder> to make, or --data <folder>")
    absolute = {"source.path": data, "source.mapping": mapping}
    return {
        "source.kind": kind,
        "source.size": size or None,
        **{k: str(Path(v).resolve()) for k, v in absolute.items() if v},
    }


def _default_dataset(source: Mapping[str, Any]) -> str:
    kind, size = source.get("kind", "synthetic"), source.get("size")
    return f"{kind}-{size}" if size else str(kind)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError as error:
        raise ConfigError(
            f"configuration file {path} does not exist; pass --config with an existing YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration file {path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"configuration file {path} holds {type(values).__name__}; expected sections such as `source:`"
        )
    return values


def environment_settings() -> dict[str, Any]:
    """Return dotted key -> parsed value of every `TANDEM_SECTION__FIELD`, and of the variables in `SHORT_NAMES`."""
    import yaml

    found: dict[str, Any] = {}
    for name, text in sorted(os.environ.items()):
        if name in SHORT_NAMES and text:
            found[SHORT_NAMES[name]] = text
        elif name.startswith("TANDEM_") and "__" in name and not name.startswith("TANDEM_SERVING__"):
            found[name.removeprefix("TANDEM_").lower().replace("__", ".")] = yaml.safe_load(text)
    return found


def _assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"configuration key {dotted!r}: {section!r} is a value, not a section")
    values[field] = value


def _explain(error: ValidationError) -> str:
    problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e.get('input')!r})" for e in error.errors()]
    return f"configuration is not valid: {'; '.join(problems)}. See docs/configuration.md for the legal keys"
