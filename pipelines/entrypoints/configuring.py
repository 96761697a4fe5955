"""Resolve a run's configuration once, and read it again; parse what people type."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config import Config
from pipelines.entrypoints.adapters import Json, open_artifacts
from pipelines.errors import ConfigError
from pipelines.settings import load_config, source_overrides
from pipelines.stores.artifacts import content_key


def resolve_config(file: str | None = None, overrides: Mapping[str, Any] | None = None) -> Json:
    """Resolve the configuration once and write it down, so that every later step reads the same one.

    Args:
        file: YAML file; None reads `configs/default.yaml`.
        overrides: dotted key -> value, such as `{"seed": 11}`.

    Returns:
        `{"config": uri, "dataset": name}`; equal settings give an equal URI.
    """
    config = load_config(file, overrides)
    text = config.model_dump_json(indent=2)
    key = f"{config.dataset}/config/{content_key(config=config.model_dump(mode='json'))}"
    uri = open_artifacts(config).publish(key, lambda folder: _write(folder / "config.json", text))
    return {"config": f"{uri}/config.json", "dataset": config.dataset}


def resolve_params(params: Mapping[str, Any]) -> Json:
    """Resolve the configuration of a trigger form or command line.

    Args:
        params: any of `source`, `data`, `mapping`, `config`, `dataset`, `seed`, `model`, `ranker`,
            `ranking_loss` and `settings` (dotted key -> value); None and missing mean the configuration's own.

    Raises:
        ConfigError: a value is not legal, or `data` and `mapping` are given without the source they belong to.
    """
    source, data, mapping = (params.get(name) for name in ("source", "data", "mapping"))
    if source is None and (data or mapping):
        raise ConfigError("a data folder or mapping belongs to a source; choose one, such as movielens-1m")
    chosen = source_overrides(source, data, mapping) if source else {}
    named = {"dataset": params.get("dataset"), "seed": params.get("seed")}
    return resolve_config(params.get("config"), {**chosen, **named, **single_settings(params)})


def single_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key -> value of the parameters that change a configuration: models, loss and `settings`."""
    keys = {"model": "retrieval.model", "ranker": "ranking.model", "ranking_loss": "ranking.loss"}
    chosen = {key: params[name] for name, key in keys.items() if params.get(name)}
    return chosen | (params.get("settings") or {})


def read_config(uri: str) -> Config:
    """Read a resolved configuration.

    Raises:
        ConfigError: there is none at `uri`, or it was written by another version of Tandem.
    """
    try:
        return Config.model_validate_json(Path(uri).read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"resolved configuration {uri} does not fit this version of Tandem ({error.error_count()} keys differ); "
            "start the DAG anew, so that its first task resolves another"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"resolved configuration {uri} does not exist; start with the first task of the DAG, or run a `tandem` "
            "step, which resolves one itself"
        ) from error


def parse_as_of(text: str, name: str = "as_of") -> datetime | None:
    """Parse a moment with its time zone; None stands for the moment after the newest row known.

    Raises:
        ConfigError: `text` is not an ISO 8601 moment, or has no time zone.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name} {text!r} is not a moment; expected one such as 2025-01-02T00:00:00Z") from error
    if moment.tzinfo is None:
        raise ConfigError(f"{name} {text!r} has no time zone; expected one such as {text}Z")
    return moment


def runs_folder() -> str:
    """Return the folder below which steps write their results and reports."""
    return str(load_config().home / "runs")


def parse_moment(text: str, name: str) -> datetime:
    """Parse a moment that must be given.

    Raises:
        ConfigError: it is empty, not a moment, or without time zone.
    """
    moment = parse_as_of(text, name)
    if moment is None:
        raise ConfigError(f"{name} is empty; expected a moment such as 2025-01-02T00:00:00Z")
    return moment


def _write(path: Path, text: str) -> None:
    path.write_text(text)
