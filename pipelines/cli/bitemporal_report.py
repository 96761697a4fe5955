"""`tandem bitemporal-report`: what training features would have seen too early, had they been joined by event time."""

import argparse
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve

COLUMNS = ("feature", "differ", "share", "unknown", "mean by", "most by")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "compare features joined by event time alone with what had arrived by then"
    command = commands.add_parser("bitemporal-report", help=summary, description=summary)
    add_config_options(command)
    command.add_argument("--as-of", default="", metavar="MOMENT", help="default: the moment after the newest row known")
    command.add_argument("--json", action="store_true", help="print JSON for a program")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print the report."""
    from pipelines.platform.screens import print_json, print_table

    config = resolve(parsed)["config"]
    confine(config)
    report = entrypoints.bitemporal_report(config, entrypoints.take_snapshot(config, parsed.as_of))
    if parsed.json:
        print_json(report)
        return 0
    num = report["num_labels"]
    print(
        f"{report['num_different']:,} of {num:,} labels ({_share(report['num_different'], num)}) would have seen their "
        f"future in a join by event time alone; {report['num_late_events']:,} events arrived after they happened"
    )
    print_table(COLUMNS, [_row(feature, num) for feature in report["features"]])
    return 0


def _row(feature: dict[str, Any], num_labels: int) -> tuple[str, ...]:
    sizes = (feature["mean_difference"], feature["max_difference"])
    return (
        feature["feature"],
        f"{feature['num_different']:,}",
        _share(feature["num_different"], num_labels),
        f"{feature['num_only_naive']:,}",
        *("" if size is None else f"{size:,.4g}" for size in sizes),
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "0.00%"
