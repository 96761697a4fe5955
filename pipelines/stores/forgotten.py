"""Who was forgotten, so that nobody comes back with a partition that is read again or an event that is sent later.

The list holds no user id: an entry is the HMAC-SHA256 of one, under a random key that is made with a data set's first
entry. It lies where served events lie, files or Redis: pipelines and every serving process read the same one, it
outlives restarts, and nothing drains or prunes it. Whoever holds list and key together can test whether an id is on it,
as serving has to; without the key the entries say nothing.
"""

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.contracts import USER_ID
from pipelines.stores.served import UNASSIGNED, ServedLog

if TYPE_CHECKING:
    import pyarrow as pa

KEY, DIGEST = "key", "digest"
Names = Mapping[str, frozenset[str]]


class ForgottenUsers:
    """The forgotten users of all data sets; safe to ask from several threads.

    Args:
        log: logs of the kind `FORGOTTEN_LOG`.
    """

    def __init__(self, log: ServedLog) -> None:
        self._log = log
        self._tail = log.tail()
        self._keys: Names = {}
        self._digests: Names = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read what was added since; returns whether there was anything."""
        found = self._tail.poll()
        for name, record in found:
            self._take(name, record)
        return bool(found)

    def has(self, dataset: str, user_id: str) -> bool:
        """Return whether a user was forgotten in a data set; where that is `unassigned`, in any."""
        names = self._digests if dataset == UNASSIGNED else (dataset,)
        return any(
            _digest(key, user_id) in self._digests.get(name, ())
            for name in list(names)
            for key in self._keys.get(name, ())
        )

    def add(self, dataset: str, user_id: str, *, at: datetime) -> str:
        """Put a user on the list, durable when it returns, unless already there; returns the entry's digest."""
        if not self._keys.get(dataset):
            self._append(dataset, {KEY: secrets.token_hex(32)})
        digest = _digest(min(self._keys[dataset]), user_id)
        if not self.has(dataset, user_id):
            self._append(dataset, {DIGEST: digest, "forgotten_at": at.isoformat(timespec="microseconds")})
        self._log.close()  # it is seldom written; the next to be forgotten opens it again
        return digest

    def without(self, dataset: str, batch: "pa.RecordBatch") -> "pa.RecordBatch":
        """Return the rows of a batch whose `user_id`, read as text, is not on the list."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._digests.get(dataset) or USER_ID not in batch.schema.names:
            return batch
        users = pc.cast(batch.column(USER_ID), pa.string())
        gone = [user for user in pc.unique(users).to_pylist() if user is not None and self.has(dataset, user)]
        return batch.filter(pc.invert(pc.is_in(users, value_set=pa.array(gone, pa.string())))) if gone else batch

    def _append(self, dataset: str, record: dict[str, str]) -> None:
        self._log.append(dataset, [record])
        self._take(dataset, record)

    def _take(self, name: str, record: Mapping[str, str]) -> None:
        # Replaced, not changed: another thread may be reading.
        if KEY in record:
            self._keys = {**self._keys, name: self._keys.get(name, frozenset()) | {record[KEY]}}
        if DIGEST in record:
            self._digests = {**self._digests, name: self._digests.get(name, frozenset()) | {record[DIGEST]}}


def _digest(key: str, user_id: str) -> str:
    return hmac.digest(bytes.fromhex(key), user_id.encode(), "sha256").hex()
