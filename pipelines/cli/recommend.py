"""`tandem recommend USER`: ask serving for recommendations."""

import argparse
from typing import Any

from pipelines.cli.options import add_platform_options, platform_config


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("recommend", help="show what serving recommends to a user")
    command.add_argument("user", metavar="USER", help="user id; one never seen is fine")
    command.add_argument("--count", type=int, default=10, help="items wanted (default: 10)")
    command.add_argument("--exclude", action="append", default=[], metavar="ITEM", help="item not wanted; repeatable")
    add_platform_options(command)
    command.set_defaults(call=call)


def call(parsed: argparse.Namespace) -> int:
    """Print the recommendations."""
    from pipelines.platform.screens import print_json, print_table
    from pipelines.stores.serving_client import ServingClient

    config = platform_config(parsed)
    answer = ServingClient(config.serving_url).recommend(parsed.user, count=parsed.count, exclude=tuple(parsed.exclude))
    if parsed.json:
        print_json(answer)
        return 0
    known = "" if answer["user_known"] else " (not seen before)"
    fields = ("rank", "item_id", "title", "score", "expected_value", "source")
    print_table(
        fields,
        [[item[field] for field in fields] for item in answer["items"]],
        title=f"user {parsed.user}{known}, release {answer['release']['version']}",
    )
    if answer["degraded"]:
        print(f"degraded: {', '.join(answer['degraded'])}; see `tandem status`")
    return 0
