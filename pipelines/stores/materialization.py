"""Bring rows of a window to the online store, then hold everything online against everything offline.

A window is what a run writes; the audit reads every entity. A row that the window missed (it came later than the
lookback covers, it was corrected, somebody deleted it) is found there and written after all.
"""

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from pipelines.errors import FeatureStoreError
from pipelines.stores.audited_times import AuditedTimes, SetBack
from pipelines.stores.online_encoding import KEY_VERSION
from pipelines.stores.online_rows import EPOCH, ColumnStore, OnlineRows, moment
from pipelines.stores.read_ahead import ahead

if TYPE_CHECKING:
    import feast
    from feast.feature_view import FeatureView

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnlineAudit:
    """What an audit of one view found.

    Attributes:
        num_entities: entities that are offline, all of which are online now.
        num_newer: of these, how many have a newer row online than offline.
        num_repaired: how many were missing, older or different online and were written by the audit.
        num_set_back: how many were older online, before this run, than the last audit had left them; none is now.
        skipped: whether nothing was written before, because the same rows had been materialized already.
        start: begin of the window that was written.
        end: its end.
        newest_us: newest event time online, in microseconds since 1970; None without an entity.
    """

    num_entities: int
    num_newer: int
    num_repaired: int
    num_set_back: int
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
            f"window repaired; {self.num_newer:,} newer online; {self.num_set_back:,} had gone back, none has now"
        )


def materialize_view(
    store: "feast.FeatureStore",
    view: "FeatureView",
    *,
    version: int,
    since: datetime | None,
    until: datetime,
    clock: datetime,
    audited: Path,
) -> OnlineAudit:
    """Write the window's newest row of each entity, unless this version was written before, and audit the view.

    Args:
        store: Feast, with the feature tables pinned.
        view: what to materialize.
        version: of the view's table; the same version up to the same moment is not written twice.
        since: begin of the window; None is everything. A store that knows nothing of the view gets everything.
        until: end of the window, inclusive.
        clock: the present, kept beside the rows.
        audited: folder with the event times that the last audit of each view left, a file a view.

    Raises:
        FeatureStoreError: an entity is still missing, older or different after it was written twice, or its event
            time is older than when it was audited last.
    """
    online, config = column_store(store.provider.online_store), store.config
    source = f"{getattr(config.offline_store, 'lake_uri', '')}/{view.batch_source.path}"
    identity = f"{source} version {version} until {until.isoformat()}"
    before: dict[str, Any] = json.loads(online.remembered(config, view) or "{}")
    start = min(since, until) if since and before else EPOCH
    skipped = before.get("identity") == identity
    with AuditedTimes(audited / f"{view.name}.parquet") as times:
        # Without a note the store was emptied: its entities start anew.
        set_back = times.find(lambda keys: online.event_times(config, view, keys)) if before else SetBack(0, [])
        if set_back.num:
            _logger.warning("%s", _told(view, set_back))
        if not skipped:
            store.materialize(start, until, feature_views=[view.name])
        audit = _Audit(store, view, online)
        for rows in ahead(store.provider.batch_engine.newest_rows(view, EPOCH, until)):
            times.add(audit.check(rows))
        _raise_if_back(view, times.still_back())
        times.keep()
    online.remember(config, view, json.dumps({"identity": identity, "audited_at": clock.isoformat()}))
    result = OnlineAudit(
        num_entities=audit.num,
        num_newer=audit.num_newer,
        num_repaired=audit.num_repaired,
        num_set_back=set_back.num,
        skipped=skipped,
        start=start,
        end=until,
        newest_us=audit.newest_us,
    )
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

    def check(self, rows: OnlineRows) -> OnlineRows:
        """Return what is online for each row, after what was missing, older or different was written again."""
        found = self._read(rows)
        wrong = differing(rows, found)
        if wrong.any():
            self._repair(rows.where(wrong))
            found = self._read(rows)
        self.num += len(rows)
        self.num_newer += int((found.event_us > rows.event_us).sum())
        newest = int(found.event_us.max())
        self.newest_us = newest if self.newest_us is None else max(newest, self.newest_us)
        return found

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


def _raise_if_back(view: "FeatureView", back: SetBack) -> None:
    if back.num:
        raise FeatureStoreError(
            f"{_told(view, back)}; expected event times to move forward only. Find what else writes there, or which "
            "backup was restored, empty the online store and run `tandem materialize-online` again"
        )


def _told(view: "FeatureView", back: SetBack) -> str:
    from feast.infra.key_encoding_utils import deserialize_entity_key

    keys = [deserialize_entity_key(key, entity_key_serialization_version=KEY_VERSION) for key in back.keys]
    names = [
        ", ".join(
            f"{name} {getattr(value, value.WhichOneof('val'))!r}"
            for name, value in zip(key.join_keys, key.entity_values, strict=True)
        )
        for key in keys
    ]
    more = f" and {back.num - len(names):,} more" if back.num > len(names) else ""
    told = f"{back.num:,} of the entities of {view.name!r} are older online than when they were audited last"
    return f"{told}: {'; '.join(names)}{more}"
