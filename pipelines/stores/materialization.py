"""Bring rows of a window to the online store, then hold everything online against everything offline.

A window is what a run writes; the audit reads every entity. A row that the window missed (it came later than the
lookback covers, it was corrected, somebody deleted it) is found there and written after all.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import FeatureStoreError
from pipelines.stores.online_rows import EPOCH, NOTHING, ColumnStore, OnlineRows, ahead, moment

if TYPE_CHECKING:
    import feast
    from feast.feature_view import FeatureView

NUM_REMEMBERED = 200  # entities of a view whose event times the next audit compares with today's
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnlineAudit:
    """What an audit of one view found.

    Attributes:
        num_entities: entities that are offline, all of which are online now.
        num_newer: of these, how many have a newer row online than offline.
        num_repaired: how many were missing, older or different online and were written by the audit.
        skipped: whether nothing was written before, because the same rows had been materialized already.
        start: begin of the window that was written.
        end: its end.
        newest_us: newest event time online, in microseconds since 1970; None without an entity.
    """

    num_entities: int
    num_newer: int
    num_repaired: int
    skipped: bool
    start: datetime
    end: datetime
    newest_us: int | None

    def __str__(self) -> str:
        """One line for a log."""
        written = "unchanged, not written again" if self.skipped else f"written from {self.start} to {self.end}"
        newest = "nothing" if self.newest_us is None else moment(self.newest_us).isoformat()
        return (
            f"{self.num_entities:,} entities online, newest {newest}; {written}; {self.num_repaired:,} outside of the "
            f"window repaired; {self.num_newer:,} newer online; no event time went back"
        )


def materialize_view(
    store: "feast.FeatureStore",
    view: "FeatureView",
    *,
    version: int,
    since: datetime | None,
    until: datetime,
    clock: datetime,
) -> OnlineAudit:
    """Write the window's newest row of each entity, unless this version was written before, and audit the view.

    Args:
        store: Feast, with the feature tables pinned.
        view: what to materialize.
        version: of the view's table; the same version up to the same moment is not written twice.
        since: begin of the window; None is everything. A store that knows nothing of the view gets everything.
        until: end of the window, inclusive.
        clock: the present, kept beside the rows.

    Raises:
        FeatureStoreError: an entity is still missing, older or different after it was written twice, or an event
            time is older than when it was audited last.
    """
    online, config = column_store(store.provider.online_store), store.config
    source = f"{getattr(config.offline_store, 'lake_uri', '')}/{view.batch_source.path}"
    identity = f"{source} version {version} until {until.isoformat()}"
    before: dict[str, Any] = json.loads(online.remembered(config, view) or "{}")
    start = min(since, until) if since and before else EPOCH
    skipped = before.get("identity") == identity
    if not skipped:
        store.materialize(start, until, feature_views=[view.name])
    audit = _Audit(store, view, online)
    for rows in ahead(store.provider.batch_engine.newest_rows(view, EPOCH, until)):
        audit.check(rows)
    audit.raise_if_back(before.get("event_us", {}))
    note = {"identity": identity, "event_us": audit.remembered, "audited_at": clock.isoformat()}
    online.remember(config, view, json.dumps(note))
    result = OnlineAudit(audit.num, audit.num_newer, audit.num_repaired, skipped, start, until, audit.newest_us)
    _logger.info("%s: %s", view.name, result)
    return result


def audited_at(online: Any, config: Any, view: "FeatureView") -> datetime | None:
    """Return when an audit last found all of a view online; None: never."""
    note = json.loads(column_store(online).remembered(config, view) or "{}")
    return datetime.fromisoformat(note["audited_at"]) if note else None


def column_store(online: Any) -> ColumnStore:
    """Return the online store as one that takes columns.

    Raises:
        FeatureStoreError: it is another one, whose event times could go back.
    """
    if not isinstance(online, ColumnStore):
        raise FeatureStoreError(
            f"online store {type(online).__name__} cannot be audited; expected WalSqliteOnlineStore, "
            "ForwardPostgresOnlineStore or ForwardRedisOnlineStore of pipelines.stores. Set online_store.type"
        )
    return online


class _Audit:
    """Compares batches with what is online, repairs, and counts."""

    def __init__(self, store: "feast.FeatureStore", view: "FeatureView", online: ColumnStore) -> None:
        self._config, self._view, self._online = store.config, view, online
        self.num = self.num_newer = self.num_repaired = 0
        self.newest_us: int | None = None
        self.remembered: dict[str, int] = {}

    def check(self, rows: OnlineRows) -> None:
        found = self._read(rows)
        wrong = differing(rows, found)
        if wrong.any():
            self._repair(rows.where(wrong))
            found = self._read(rows)
        self.num += len(rows)
        self.num_newer += int((found.event_us > rows.event_us).sum())
        newest = int(found.event_us.max())
        self.newest_us = newest if self.newest_us is None else max(newest, self.newest_us)
        room = NUM_REMEMBERED - len(self.remembered)
        self.remembered |= {key.hex(): at for key, at in _first(found, room)}

    def raise_if_back(self, before: dict[str, int]) -> None:
        """Compare with the event times of the last audit; an entity that is gone, offline too, was forgotten."""
        keys = pa.array([bytes.fromhex(key) for key in before], pa.binary())
        if not before:
            return
        now = self._online.read_columns(self._config, self._view, keys).event_us
        then = np.array(list(before.values()), np.int64)
        back = int(((now < then) & (now != NOTHING)).sum())
        if back:
            raise FeatureStoreError(
                f"{back} of {len(before)} entities of {self._view.name!r} are older online than when they were audited "
                "last; expected event times to move forward only. Find what else writes there, empty the online store "
                "and run `tandem materialize-online` again"
            )

    def _read(self, rows: OnlineRows) -> OnlineRows:
        return self._online.read_columns(self._config, self._view, rows.keys)

    def _repair(self, rows: OnlineRows) -> None:
        self._online.write_columns(self._config, self._view, rows)
        wrong = int(differing(rows, self._read(rows)).sum())
        if wrong:
            raise FeatureStoreError(
                f"{wrong} of {len(rows)} entities of {self._view.name!r} are missing online, older or different there "
                "after they were written again; expected all as offline. Run `tandem materialize-online` again"
            )
        self.num_repaired += len(rows)


def differing(expected: OnlineRows, found: OnlineRows) -> np.ndarray:
    """Return which rows are missing or older in `found`, or have other values at the same event time, as a mask."""
    other = np.zeros(len(expected), bool)
    for name, column in expected.values.items():
        other |= pc.not_equal(column, found.values[name]).to_numpy(zero_copy_only=False)
    wrong: np.ndarray = (found.event_us < expected.event_us) | (other & (found.event_us == expected.event_us))
    return wrong


def _first(rows: OnlineRows, num: int) -> Iterator[tuple[bytes, int]]:
    yield from zip(rows.keys[:num].to_pylist(), rows.event_us[:num].tolist(), strict=True)
