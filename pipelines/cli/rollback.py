"""`tandem rollback`: undo a promotion."""

import argparse
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_platform_options

ABOUT = "make the release before champion again, or the one named, and see it served"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("rollback", help=ABOUT, description=ABOUT)
    command.add_argument("--to", default="", metavar="VERSION", help="of `recommender`; default: the champion before")
    command.add_argument("--reason", default="", help="why; kept in MLflow with your name and the time")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print which release is champion now."""
    from pipelines.cli.options import confine, resolve_platform
    from pipelines.platform.screens import print_json

    config = resolve_platform(parsed)
    confine(config)
    move = entrypoints.rollback_release(config, parsed.to, parsed.reason)
    if parsed.json:
        print_json(move)
    else:
        before = f"release {move['previous']} was, before" if move["previous"] else "there was none before"
        print(f"release {move['version']} is champion, and serving answers from it; {before}")
    return 0
