"""`tandem explain USER ITEM`: why an item is, or is not, recommended."""

import argparse
from typing import Any

from pipelines.cli.options import add_platform_options, platform_config

FIGURES = ("position", "retrieval_score", "retrieval_rank", "num_items", "probability", "expected_value")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("explain", help="show why an item is, or is not, recommended to a user")
    command.add_argument("user", metavar="USER", help="user id")
    command.add_argument("item", metavar="ITEM", help="item id")
    command.add_argument("--count", type=int, default=10, help="length of the answer it is looked for in (default: 10)")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print the explanation."""
    from pipelines.platform.screens import print_json, print_table
    from pipelines.stores.serving_client import ServingClient

    config = platform_config(parsed)
    answer = ServingClient(config.serving_url).explain(parsed.user, parsed.item, count=parsed.count)
    if parsed.json:
        print_json(answer)
        return 0
    verdict = f"recommended at position {answer['position']}" if answer["recommended"] else "not recommended"
    print(f"item {parsed.item} is {verdict} to user {parsed.user}")
    for reason in answer["reasons"]:
        print(f"  because {reason}")
    print_table(("figure", "value"), [(name, answer[name]) for name in FIGURES])
    features = [(whose, name, value) for whose, values in answer["features"].items() for name, value in values.items()]
    print_table(("of", "feature", "value"), features)
    if answer["history"]:
        near = [(item["item_id"], item["title"], item["similarity"]) for item in answer["history"]]
        print_table(("item", "title", "similarity"), near, title="nearest items of the user's history")
    return 0
