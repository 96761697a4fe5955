"""`tandem search`: find a model's best settings on the validation window."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, assignment, confine, parameters, resolve
from pipelines.errors import ConfigError

Json = dict[str, Any]
ABOUT = "search a model's best settings on the validation window; killed and called again, it goes on"
MOST_SHOWN = 10


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("search", help=ABOUT, description=ABOUT)
    add_config_options(command)
    command.add_argument("model", metavar="MODEL", help="retrieval model, as `tandem models` lists it")
    command.add_argument("--preset", help="settings that come with the model, such as quality; searched ones go first")
    command.add_argument("--trials", type=int, default=20, metavar="N", help="settings tried in all; default: 20")
    command.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="KEY=SPEC|FILE",
        help="instead of the model's own: such as retrieval.learning_rate=log:1e-4..1e-2, retrieval.dropout=0.0..0.5 "
        "or retrieval.embedding_dim=[32,64], or a YAML file of those",
    )
    command.add_argument("--study", metavar="NAME", help="begin or go on with a search of this name")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Work on the search until all of its trials are done, and print the best."""
    from pipelines.platform.screens import print_json

    space = _space(parsed.space)
    config = resolve(parsed)["config"]
    confine(config)
    dataset = entrypoints.read_config(config).dataset
    features = entrypoints.receive("features", None, {"dataset": dataset})["features"]
    training_set = entrypoints.build_training_set(config, features)
    search = entrypoints.plan_search(config, training_set, parsed.trials, parsed.study, space or None)
    sys.stderr.write(f"search {search['study']}: {search['num_trials']} trials, by {search['metric']}\n")
    entrypoints.run_trials(config, search, _say)
    result = entrypoints.report_search(config, search)
    command = _command(parsed, result["settings"])
    if parsed.json:
        print_json({**result, "command": command})
        return 0
    _print(result)
    print(f"train it: {command}")
    print(f"      or: tandem train {parsed.model} --config {result['config']}")
    print(f"trials and plots: {result['uri']}")
    print(f"MLflow: {entrypoints.run_address(config, result['run_id'])}")
    return 0


def _space(given: list[str]) -> Json:
    """Return dotted key -> list or range of all that was given."""
    found: Json = {}
    for one in given:
        found |= dict([assignment(one)]) if "=" in one else _file(Path(one))
    return found


def _file(path: Path) -> Json:
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"--space {path} cannot be read: {error}; expected KEY=SPEC or a YAML file of those"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"--space {path} holds {values!r}; expected lines such as `retrieval.epochs: 2..8`")
    return values


def _say(trial: Json) -> None:
    """Print a line on a trial that has ended, where progress goes."""
    value = "" if trial["value"] is None else f" {trial['value']:.4f}"
    sys.stderr.write(f"trial {trial['trial']} {trial['state']}{value} {trial['error']}".rstrip() + "\n")


def _command(parsed: argparse.Namespace, settings: Json) -> str:
    """Return the command that trains what was searched, with the best settings."""
    given = parameters(parsed)
    words = ["tandem", "train", parsed.model]
    for name in ("config", "source", "data", "mapping", "dataset", "seed"):
        words += [f"--{name}", str(given[name])] if name in given else []
    words += ["--preset", parsed.preset] if parsed.preset else []
    for pair in (*parsed.set, *(f"{key}={_as_yaml(value)}" for key, value in settings.items())):
        words += ["--set", pair]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    """Return what `--set` reads as the value: small numbers too, which JSON writes otherwise."""
    import yaml

    return str(yaml.safe_dump([value], default_flow_style=True, width=10_000)).strip()[1:-1]


def _print(result: Json) -> None:
    from pipelines.platform.screens import print_table

    trials = json.loads((Path(result["uri"]) / "trials.json").read_text())
    ranked = sorted(trials, key=lambda one: (one["state"] != "complete", -(one["value"] or 0), one["trial"]))
    rows = [_row(one) for one in ranked[:MOST_SHOWN]]
    ended = ", ".join(f"{count} {state}" for state, count in result["num_ended"].items())
    about = f"search {result['study']} by {result['metric']}: {ended} of {result['num_trials']} trials"
    print_table(("trial", "value", "", "seconds", "settings"), rows, title=about)


def _row(trial: Json) -> tuple[str, ...]:
    value = "" if trial["value"] is None else f"{trial['value']:.4f}"
    settings = (f"{key.rpartition('.')[2]}={_shown(value)}" for key, value in sorted(trial["settings"].items()))
    return str(trial["trial"]), value, trial["state"], f"{trial['cost_wall_seconds']:.1f}", " ".join(settings)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
