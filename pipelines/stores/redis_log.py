"""The log of commands that a Redis server keeps on disk."""

import time
from typing import Any

from pipelines.errors import PlatformError

LONGEST_SECONDS = 600
_PAUSE_SECONDS = 0.02


def rewrite_log(client: Any) -> None:
    """Let a server that keeps a log of its commands write it anew: what was deleted stands in the old one.

    Raises:
        PlatformError: the server takes longer than `LONGEST_SECONDS`, or failed.
    """
    if client.config_get("appendonly").get("appendonly") != "yes":
        return
    _wait(client)  # one under way may have passed what was deleted already
    client.bgrewriteaof()
    _wait(client)
    status = client.info("persistence")["aof_last_bgrewrite_status"]
    if status != "ok":
        raise PlatformError(f"Redis could not write its log anew ({status}); see its own log, then run the step again")


def _wait(client: Any) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        state = client.info("persistence")
        if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
            return
        time.sleep(_PAUSE_SECONDS)
    raise PlatformError(f"Redis is still writing its log after {LONGEST_SECONDS} s; run the step again when it is done")
