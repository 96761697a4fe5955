"""Which logged requests can be compared, and a sample of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from pipelines.config import ParityConfig
from pipelines.stores.served import UNASSIGNED, Record, ServedLog

SCANNED = 50
"""Times the wanted number of requests that are looked at, newest first."""


@dataclass(frozen=True)
class Chosen:
    """Requests to compare, and how many newer ones wait until their events are drained."""

    records: list[Record]
    num_waiting: int


def choose_requests(
    dataset: str,
    *,
    requests: ServedLog,
    events: ServedLog,
    config: ParityConfig,
    seed: int,
    as_of: datetime,
) -> Chosen:
    """Return a random sample, in order of time, of the requests whose events are all in the lake."""
    oldest = (as_of - timedelta(days=config.max_days)).isoformat(timespec="microseconds")
    newest = as_of.isoformat(timespec="microseconds")
    complete = min(as_of, *(_complete_until(events, name, as_of) for name in (dataset, UNASSIGNED)))
    known = complete.isoformat(timespec="microseconds")
    found = requests.newest(dataset, config.max_requests * SCANNED)
    window = [record for record in found if oldest <= record["read_at"] < newest]
    ready = [record for record in window if record["read_at"] <= known]
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(ready), size=min(len(ready), config.max_requests), replace=False)
    return Chosen([ready[row] for row in sorted(rows.tolist())], len(window) - len(ready))


def _complete_until(events: ServedLog, name: str, as_of: datetime) -> datetime:
    """Until when a log is in the lake: when nothing waits in it, until now."""
    if name not in events.names() or not events.waiting(name):
        return as_of
    return events.complete_until(name) or datetime.min.replace(tzinfo=as_of.tzinfo)
