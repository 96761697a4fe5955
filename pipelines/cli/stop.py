"""`tandem stop`: end the platform's own processes and nothing else."""

import argparse
from typing import Any

from pipelines.cli.options import add_platform_options, platform_config


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("stop", help="end the platform's processes; its state stays")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Stop the platform."""
    from pipelines.platform.screens import print_json
    from pipelines.platform.supervisor import Supervisor

    config = platform_config(parsed)
    ended = Supervisor(config).stop()
    if parsed.json:
        print_json({"ended_processes": ended})
    else:
        print(f"{ended} processes ended; state stays in {config.home}" if ended else "nothing was running")
    return 0
