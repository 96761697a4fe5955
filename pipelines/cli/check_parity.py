"""`tandem check-parity`: compare the features that serving used with those computed offline."""

import argparse
import sys
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve

ABOUT = "compare the features that serving used with those computed offline for the same moments"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("check-parity", help=ABOUT, description=ABOUT)
    add_config_options(command)
    command.add_argument("--as-of", default="", metavar="MOMENT", help="only requests before it; default: now")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print a line a feature; 0 if serving used what training would have seen, else 1."""
    from pipelines.contracts import ParityReport
    from pipelines.errors import ParityError
    from pipelines.platform.screens import print_json, print_table
    from pipelines.steps.check_parity import require_parity

    config = resolve(parsed)["config"]
    confine(config)
    report = ParityReport(**entrypoints.report_parity(config, parsed.as_of))
    if parsed.json:
        print_json(report.model_dump(mode="json"))
    else:
        rows = [(f.name, f.num_different, f"{report.share(f):.2%}", f.num_expired) for f in report.features]
        title = f"{report.num_compared} requests of {report.dataset}; {report.num_waiting} newer ones wait for a drain"
        print_table(("feature", "requests that differ", "share", "expired"), rows, title=title)
        for feature in report.features:
            if feature.example:
                print(f"{feature.name}: {feature.example}")
        print(f"report: {report.uri}/report.html")
    try:
        require_parity(report, entrypoints.read_config(config).parity)
    except ParityError as error:
        print(f"tandem check-parity: {error}", file=sys.stderr)
        return 1
    return 0
