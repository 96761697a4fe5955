"""Parse the command line, call one command, turn errors into one line."""

import argparse
import sys
from collections.abc import Sequence

from pipelines.cli import (
    bitemporal_report,
    chains,
    check_features,
    check_parity,
    compare,
    explain,
    feature_catalogue,
    forgetting,
    leakage_check,
    models,
    recommend,
    reproduce,
    rollback,
    run,
    search,
    status,
    steps,
    stop,
    training_set,
    up,
)
from pipelines.errors import TandemError


def parser() -> argparse.ArgumentParser:
    """Return the parser with every subcommand."""
    root = argparse.ArgumentParser(prog="tandem", description="Workflow-orchestrated MLOps for recommender systems.")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    checks = (bitemporal_report, check_features, check_parity, leakage_check)
    shown = (feature_catalogue, forgetting, training_set, models, search, compare, reproduce)
    for command in (run, up, stop, status, recommend, explain, rollback, chains, *checks, *shown, steps):
        command.add(commands)
    return root


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0, or 2 when the caller is at fault, or 1.
    """
    parsed = parser().parse_args(arguments)
    try:
        return int(parsed.call(parsed) or 0)
    except TandemError as error:
        print(f"tandem {parsed.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"tandem {parsed.command}: interrupted", file=sys.stderr)
        return 130
