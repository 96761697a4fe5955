"""`tandem models`: models and ranking losses, what they need and what they are good at."""

import argparse
from typing import Any

from pipelines import entrypoints


def add(commands: Any) -> None:
    """Add the command to the parser."""
    about = "list the models and ranking losses, what they need and what they are good at"
    command = commands.add_parser("models", help=about, description=about)
    command.add_argument("--json", action="store_true", help="print JSON for a program, with settings and defaults")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print the catalogue."""
    from pipelines.platform.screens import print_json, print_table

    found = entrypoints.list_models()
    if parsed.json:
        print_json(found)
    else:
        columns = ("kind", "name", "family", "needs", "good_at")
        titles = [column.replace("_", " ") for column in columns]
        print_table(titles, [[model[key] for key in columns] for model in found])
    return 0
