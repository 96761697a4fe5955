"""One subcommand a step: references as JSON files or standard input, the result as JSON on standard output."""

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve
from pipelines.errors import ConfigError

STEPS = (
    "read_partition",
    "validate_partition",
    "append_partition",
    "take_snapshot",
    "compute_features",
    "materialize_online",
    "export_features",
    "build_training_set",
    "train_retrieval",
    "build_ranking_set",
    "train_ranking",
    "evaluate_models",
    "build_index",
    "assemble_release",
    "compare_release",
    "promote_release",
    "seal_events",
    "finish_drain",
)


def add(commands: Any) -> None:
    """Add every step to the parser; its options follow from the entrypoint's signature."""
    for name in STEPS:
        function = getattr(entrypoints, name)
        summary = (inspect.getdoc(function) or name).splitlines()[0]
        command = commands.add_parser(name.replace("_", "-"), help=summary, description=summary)
        add_config_options(command)
        parameters = _parameters(name)
        single = sum(map(_is_reference, parameters)) == 1
        for parameter in parameters:
            _add_parameter(command, parameter, single=single)
        command.set_defaults(call=call, step=name)


def call(parsed: argparse.Namespace) -> int:
    """Run one step and print its reference."""
    config = resolve(parsed)["config"]
    confine(config)
    arguments = {
        p.name: _reference(parsed, p.name) if _is_reference(p) else getattr(parsed, p.name)
        for p in _parameters(parsed.step)
    }
    result = getattr(entrypoints, parsed.step)(config, **arguments)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


def _parameters(step: str) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(getattr(entrypoints, step)).parameters.values() if p.name != "config"]


def _is_reference(parameter: inspect.Parameter) -> bool:
    return bool(parameter.annotation == entrypoints.Json)


def _add_parameter(command: argparse.ArgumentParser, parameter: inspect.Parameter, *, single: bool) -> None:
    flag = f"--{parameter.name.replace('_', '-')}"
    if _is_reference(parameter):
        about = "JSON that an earlier step printed; - reads standard input"
        command.add_argument(flag, metavar="FILE", default="-" if single else None, required=not single, help=about)
    elif parameter.default is parameter.empty:
        command.add_argument(flag, required=True, help="required")
    else:
        command.add_argument(flag, default=parameter.default, help=f"default: {parameter.default}")


def _reference(parsed: argparse.Namespace, name: str) -> Any:
    source = getattr(parsed, name)
    flag = f"--{name.replace('_', '-')}"
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
        value = json.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{flag} {source} does not exist; expected the JSON that an earlier step printed") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{flag} {source} is not JSON ({error}); expected what an earlier step printed") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{flag} {source} holds {type(value).__name__}; expected one JSON object")
    return value
