"""`tandem check-features`: refuse a change of features that would break the champion."""

import argparse
import sys
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_platform_options

ABOUT = "check that the declared features still serve the champion; run it before a change of them is deployed"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("check-features", help=ABOUT, description=ABOUT)
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print what would break; 0 if nothing, else 1."""
    from pipelines.cli.options import confine, resolve_platform
    from pipelines.platform.screens import print_json

    config = resolve_platform(parsed)
    confine(config)
    found = entrypoints.check_features(config)
    if parsed.json:
        print_json(found)
    for problem in found["problems"]:
        print(f"tandem check-features: {problem}", file=sys.stderr)
    if not parsed.json and not found["problems"]:
        version = found["champion_version"]
        print(f"champion {version} is served by the declared features" if version else "there is no champion yet")
    return 1 if found["problems"] else 0
