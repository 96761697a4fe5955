"""`tandem reproduce`: run a published protocol and print our figures beside those of others."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import assignment
from pipelines.errors import ConfigError

Json = dict[str, Any]
ABOUT = "run a published evaluation protocol and print our figures beside those of others"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("reproduce", help=ABOUT, description=ABOUT)
    command.add_argument("name", nargs="?", metavar="NAME", help="a protocol, see --list")
    command.add_argument("--list", action="store_true", help="list the protocols and end")
    command.add_argument(
        "--model", action="append", default=[], help="a line of its table or a model of `tandem models`"
    )
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the models run")
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each model with something random")
    command.add_argument("--data", metavar="FOLDER", help="holds ml-1m, ml-100k and so on; default: TANDEM_DATA")
    command.add_argument(
        "--part", choices=("test", "validation"), default="test", help="settings are chosen on validation"
    )
    command.add_argument("--out", metavar="FILE", help="also write the result there, as JSON")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """List the protocols, or run one."""
    from pipelines.platform.screens import print_json

    if parsed.list:
        listed = entrypoints.list_protocols()
        print_json(listed) if parsed.json else _print_list(listed)
        return 0
    result = entrypoints.reproduce(
        _given(parsed.name, "NAME of a protocol", "tandem reproduce --list"),
        _given(parsed.data or os.environ.get("TANDEM_DATA"), "folder of published files", "--data or TANDEM_DATA"),
        models=parsed.model,
        settings=dict(assignment(pair) for pair in parsed.set),
        num_seeds=parsed.seeds,
        part=parsed.part,
    )
    if parsed.out:
        Path(parsed.out).write_text(json.dumps(result, indent=2) + "\n")
    print_json(result) if parsed.json else _print(result)
    return 0


def _given(value: str | None, what: str, where: str) -> str:
    if not value:
        raise ConfigError(f"no {what} was given; see {where}")
    return value


def _print_list(listed: list[Json]) -> None:
    from pipelines.platform.screens import print_table

    rows = [
        (one["name"], one["about"], _best(one), ", ".join(f"{key} {value}" for key, value in one["goal"].items()))
        for one in listed
    ]
    print_table(("name", "what it asks", "best published", "goal"), rows)


def _print(result: Json) -> None:
    from pipelines.platform.screens import print_table

    metrics = result["metrics"]
    ours = [(one["name"], *(_spread(one, metric) for metric in metrics), _met(one)) for one in result["results"]]
    theirs = [
        (one["model"], *(_number(one["values"].get(metric)) for metric in metrics), one["source"])
        for one in result["published"]
    ]
    goal = [("goal", *(_number(result["goal"].get(metric)) for metric in metrics), "")] if result["goal"] else []
    print_table(("model", *metrics, "goal met or source"), [*ours, *goal, *theirs], title=_title(result))
    if result["best"]:
        _print_users(result)


def _print_users(result: Json) -> None:
    """Print how sure the figures are: intervals over users, and the best model beside each other."""
    from pipelines.models.paired_table import span
    from pipelines.platform.screens import print_table

    metrics, best = result["metrics"], result["best"]
    rows = [
        (one["name"], *(span(*one["intervals"][metric]) for metric in metrics), *_beside(result, one["name"]))
        for one in result["results"]
        if one["intervals"]
    ]
    columns = (*(f"{metric}, 95 %" for metric in metrics), f"best above by, {metrics[0]}", "p")
    about = f"over users; {best} beside each on the same users, p by swapping the two (Holm)"
    print_table(("model", *columns), rows, title=about)


def _beside(result: Json, name: str) -> tuple[str, str]:
    from pipelines.models.paired_table import p_text, span

    if name == result["best"]:
        return "best", ""
    one = result["differences"][result["metrics"][0]][name]
    return f"{one['difference']:+.4f} ({span(one['low'], one['high'])})", p_text(one["p_holm"])


def _title(result: Json) -> str:
    return f"{result['protocol']}, {result['part']} part: full ranking, ties worst case; removed: {result['removed']}"


def _best(one: Json) -> str:
    if not one["published"]:
        return "none"
    best = one["published"][0]
    return f"{best['model']} " + " / ".join(_number(value) for value in best["values"].values())


def _spread(one: Json, metric: str) -> str:
    mean = _number(one["mean"][metric])
    return mean if one["num_seeds"] == 1 else f"{mean} ± {_number(one['deviation'][metric])}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _met(one: Json) -> str:
    return {True: "met", False: "not met", None: ""}[one["met"]]
