"""`tandem feature-catalogue`: what every feature is, how fresh and distributed, and who reads it."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipelines import entrypoints
from pipelines.cli.options import add_config_options, confine, resolve

ABOUT = "write the page of all features: meaning, owner, freshness, distribution and readers of each"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("feature-catalogue", help=ABOUT, description=ABOUT)
    add_config_options(command)
    command.add_argument("--json", action="store_true", help="print every feature as JSON")
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Write the page for the features computed last, and print a line for each feature."""
    from pipelines.platform.screens import print_json, print_table

    config = resolve(parsed)["config"]
    confine(config)
    dataset = entrypoints.read_config(config).dataset
    features = entrypoints.receive("features", None, {"dataset": dataset})["features"]
    catalogue = entrypoints.feature_catalogue(config, features)
    found = json.loads((Path(catalogue["uri"]) / "catalogue.json").read_text())
    if parsed.json:
        print_json({"page": catalogue["page"], "features": found})
        return 0
    rows = [(f["name"], f["meaning"], _champion(f["models"])) for f in found]
    print_table(("feature", "meaning", "read by the champion's"), rows, title=f"features of {dataset}")
    print(f"page: {catalogue['page']}")
    return 0


def _champion(models: list[dict[str, Any]]) -> str:
    return ", ".join(model["model"] for model in models if model["champion"])
