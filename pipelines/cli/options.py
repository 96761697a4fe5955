"""Options that several commands share, and the configuration they resolve to."""

import argparse
import os
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.settings import environment_settings, load_config

Json = dict[str, Any]


def add_config_options(command: argparse.ArgumentParser) -> None:
    """Add the options that choose data and configuration."""
    group = command.add_argument_group("configuration")
    group.add_argument("--config", metavar="FILE", help="YAML file instead of configs/default.yaml")
    group.add_argument("--source", help="synthetic, movielens-100k, -1m, -20m, -32m, csv or parquet")
    group.add_argument("--data", metavar="FOLDER", help="folder with the source's files")
    group.add_argument("--mapping", metavar="FILE", help="YAML that maps csv or parquet columns to Tandem's")
    group.add_argument("--dataset", help="namespace of lake, features and runs; default: named after the source")
    group.add_argument("--seed", type=int, help="seed of the synthetic source and of training")
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as retrieval.epochs=3")


def add_training_options(command: argparse.ArgumentParser) -> None:
    """Add the options that choose what models are trained on."""
    group = command.add_argument_group("training")
    group.add_argument("--device", choices=["auto", "cpu", "gpu"], help="default: an accelerator where there is one")
    group.add_argument(
        "--devices",
        type=int,
        dest="num_devices",
        metavar="N",
        help="devices that take a part of every batch; default: 1",
    )
    group.add_argument(
        "--precision", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="of next-item models' layers"
    )


def add_platform_options(command: argparse.ArgumentParser, *, home: bool = True) -> None:
    """Add the options of commands that talk to the platform."""
    command.add_argument("--json", action="store_true", help="print JSON for a program")
    if home:
        command.add_argument("--config", metavar="FILE", help="YAML file instead of configs/default.yaml")


def parameters(parsed: argparse.Namespace) -> Json:
    """Return the options given, as parameters of a DAG run: see `entrypoints.resolve_params`."""
    paths = {name: getattr(parsed, name) for name in ("data", "mapping", "config")}
    absolute = {name: str(Path(path).resolve()) for name, path in paths.items() if path}
    models = {name: getattr(parsed, name, None) for name in ("model", "ranker", "ranking_loss")}
    preset = getattr(parsed, "preset", None)
    given = {"source": parsed.source, "dataset": parsed.dataset, "seed": parsed.seed, **models, **absolute}
    settings = dict(assignment(pair) for pair in parsed.set)
    if preset:
        settings["retrieval.preset"] = preset
    run = {name: getattr(parsed, name, None) for name in ("device", "num_devices", "precision")}
    settings |= {f"training.{name}": value for name, value in run.items() if value is not None}
    return {key: value for key, value in given.items() if value is not None} | {"settings": settings}


def resolve(parsed: argparse.Namespace) -> Json:
    """Resolve the configuration of the options and write it down."""
    return entrypoints.resolve_params(parameters(parsed))


def confine(config: str) -> None:
    """Keep libraries' caches and dot files below the home, as in the platform's own processes."""
    from pipelines.platform.embedded import confined_environment

    confined = confined_environment(entrypoints.read_config(config).home)
    for name in ("HOME", "TMPDIR"):
        Path(confined[name]).mkdir(parents=True, exist_ok=True)
    os.environ.update(confined)


def platform_config(parsed: argparse.Namespace) -> Config:
    """Return the configuration of a command that needs no data.

    A platform that runs is found at the ports it was started with, unless this shell names others.
    """
    from pipelines.platform.processes import running_ports

    config = load_config(parsed.config)
    named = environment_settings()
    return load_config(parsed.config, {k: v for k, v in running_ports(config.home / "run").items() if k not in named})


def resolve_platform(parsed: argparse.Namespace) -> str:
    """Resolve the configuration of a command that needs no data, for a step; see `platform_config`."""
    ports = platform_config(parsed).ports.model_dump()
    resolved = entrypoints.resolve_config(parsed.config, {f"ports.{name}": port for name, port in ports.items()})
    return str(resolved["config"])


def assignment(pair: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`; the value is read as YAML."""
    import yaml

    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {pair!r} is not KEY=VALUE; expected one such as retrieval.epochs=3")
    return key, yaml.safe_load(text)
