"""`tandem up`: start the platform, or what of it does not run."""

import argparse
from typing import Any

from pipelines.cli.options import add_platform_options, platform_config
from pipelines.config import Config
from pipelines.errors import TandemError


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("up", help="start the platform, or what of it does not run")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Start the platform and print its addresses."""
    from pipelines.cli.status import report
    from pipelines.platform.screens import Progress, print_addresses, print_json
    from pipelines.platform.supervisor import Supervisor

    config = platform_config(parsed)
    with Progress() as progress:
        Supervisor(config).up(progress.platform)
        if (note := _settle_promotion(config)) is not None:
            progress.say(note)
    if parsed.json:
        print_json(report(config))
    else:
        from rich.console import Console

        print_addresses(config, Console(highlight=False))
    return 0


def _settle_promotion(config: Config) -> str | None:
    """Finish or undo what a killed promotion began; returns what became of it. The platform is up either way."""
    from pipelines.entrypoints.releasing import settle_promotion

    try:
        return settle_promotion(config)
    except TandemError as error:
        return f"a promotion that was cut off could not be settled: {error}"
