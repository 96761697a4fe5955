"""`tandem training-set` and `tandem compact-lake`: any past training set again, and a lake that keeps them possible."""

import argparse
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve
from pipelines.errors import ConfigError


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    about = "build a past training set again, byte for byte; without --as-of, list those that were built"
    again = commands.add_parser("training-set", help=about, description=about)
    add_config_options(again)
    again.add_argument("--as-of", default="", metavar="MOMENT", help="the moment of its snapshot")
    again.add_argument("--fingerprint", default="", help="how its fingerprint begins, if several are of that moment")
    again.add_argument("--out", metavar="FOLDER", help="where to write it; a folder that does not exist")
    again.add_argument("--json", action="store_true", help="print JSON for a program")
    again.set_defaults(call=call)
    about = "write the lake's small files together; remove versions that no training set names"
    compact = commands.add_parser("compact-lake", help=about, description=about)
    add_config_options(compact)
    compact.add_argument("--keep-hours", type=_hours, default=24, help="keep what was replaced since; default: 24")
    compact.set_defaults(call=call_compact)


def call(parsed: argparse.Namespace) -> int:
    """Rebuild one training set and print its reference, or list all."""
    from pipelines.platform.screens import print_json, print_table

    config = resolve(parsed)["config"]
    confine(config)
    if parsed.as_of:
        if not parsed.out:
            raise ConfigError("--as-of needs --out FOLDER, where the training set is written")
        folder = str(Path(parsed.out).resolve())
        print_json(entrypoints.rebuild_training_set(config, parsed.as_of, parsed.fingerprint, folder))
        return 0
    found = entrypoints.list_training_sets(config)
    if parsed.json:
        print_json(found)
        return 0
    rows = [
        (t["features"]["snapshot"]["as_of"], t["fingerprint"][:12], f"{sum(t['num_rows'].values()):,}") for t in found
    ]
    print_table(("as of", "fingerprint", "rows"), rows)
    return 0


def call_compact(parsed: argparse.Namespace) -> int:
    """Compact and vacuum, and print what was removed."""
    from pipelines.platform.screens import print_json

    config = resolve(parsed)["config"]
    print_json(entrypoints.compact_lake(config, parsed.keep_hours))
    return 0


def _hours(text: str) -> int:
    """Parse whole hours from 0 on; argparse says what was wrong."""
    if (hours := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{hours} is negative; expected hours such as 24")
    return hours
