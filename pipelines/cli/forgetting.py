"""`tandem forget-user` and `tandem find-user`: remove a user everywhere, or look for one."""

import argparse
import sys
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve

FORGET = "remove a user from lake, features, logs and caches, for good, and report what was removed where"
FIND = "look for a user everywhere; fails where a forgotten one should not be"


def add(commands: Any) -> None:
    """Add both commands to the parser."""
    for name, about, call in (("forget-user", FORGET, _forget), ("find-user", FIND, _find)):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("user_id", metavar="USER_ID", help="the user's id")
        add_config_options(command)
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
        command.set_defaults(call=call)


def _forget(parsed: argparse.Namespace) -> int:
    """Print what was removed, a line a place, and what is left to people."""
    from pipelines.platform.screens import print_json, print_table

    config = _config(parsed)
    report = entrypoints.forget_user(config, parsed.user_id)
    if parsed.json:
        print_json(report)
        return 0
    rows = [(removed["place"], f"{removed['num']:,} {removed['unit']}") for removed in report["removed"]]
    print_table(("place", "removed"), rows, title=f"a user of {report['dataset']} was forgotten")
    _print_remains(report["remains"])
    print(f"report: {report['uri']}/report.html")
    print("next: tandem materialize-features, then tandem train-models: what was made before still has the user in it")
    return 0


def _find(parsed: argparse.Namespace) -> int:
    """Print where the user is; 0 if a forgotten one is nowhere, else 1."""
    from pipelines.contracts import UserSearch
    from pipelines.errors import ForgettingError
    from pipelines.platform.screens import print_json, print_table
    from pipelines.steps.find_user import require_forgotten

    config = _config(parsed)
    search = entrypoints.find_user(config, parsed.user_id)
    if parsed.json:
        print_json(search)
    else:
        rows = [(found["place"], f"{found['num']:,}") for found in search["found"]]
        print_table(
            ("place", "how often"), rows, title=f"{search['num_places']} places of {search['dataset']} searched"
        )
        _print_remains(search["remains"])
    try:
        require_forgotten(UserSearch(**search))
    except ForgettingError as error:
        print(f"tandem find-user: {error}", file=sys.stderr)
        return 1
    return 0


def _config(parsed: argparse.Namespace) -> str:
    config: str = resolve(parsed)["config"]
    confine(config)
    return config


def _print_remains(remains: list[dict[str, Any]]) -> None:
    from pipelines.platform.screens import print_table

    if remains:
        rows = [(remainder["place"], f"{remainder['num']:,}", remainder["remedy"]) for remainder in remains]
        print_table(("place", "how often", "what to do"), rows, title="only people can remove")
