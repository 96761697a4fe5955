"""`tandem compare`: trained models side by side, with intervals and paired tests, as a page."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve

ABOUT = "put evaluated models side by side: intervals, paired tests, slices, learning curves, trade-offs, cost"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("compare", help=ABOUT, description=ABOUT)
    add_config_options(command)
    command.add_argument(
        "names",
        nargs="*",
        metavar="VERSION|RUN",
        help="such as retrieval/3, ranking/2, recommender/1, 3 for retrieval/3, or a run id; default: all that were "
        "evaluated on the same holdout as the newest version",
    )
    command.add_argument("--reference", metavar="NAME", help="what all are held against: one of them or a baseline")
    command.add_argument("--metric", help="what decides; default: evaluation.metric")
    command.add_argument("--json", action="store_true", help="print the comparison as JSON")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Write the page and print a line for each model."""
    from pipelines.platform.screens import print_json

    config = resolve(parsed)["config"]
    confine(config)
    comparison = entrypoints.compare_models(config, parsed.names, parsed.metric, parsed.reference)
    report = json.loads((Path(comparison["uri"]) / "report.json").read_text())
    if parsed.json:
        print_json({**comparison, "report": report})
        return 0
    _print(report)
    print(f"page: {comparison['uri']}/report.html")
    print(f"MLflow: {entrypoints.run_address(config, comparison['run_id'])}")
    return 0


def _print(report: dict[str, Any]) -> None:
    from pipelines.models.paired_table import paired_table
    from pipelines.platform.screens import print_table

    intervals = {name: of_one[report["metric"]] for name, of_one in report["intervals"].items()}
    head, *rows = paired_table(report["reference"], report["values"], intervals, report["differences"])
    print_table(head, rows, title=f"{report['metric']} of {report['num_users']} users, {report['dataset']}")
