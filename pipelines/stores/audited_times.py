"""The event times that audits of a view left online, of every entity: none may be older when the next one ends.

They lie outside the online store, so that one restored from a backup is noticed, too.
"""
# ruff: noqa: S608 - the queries name files of a folder made here, escaped, and fixed columns

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.stores import asof_join
from pipelines.stores.online_rows import NOTHING, OnlineRows

BATCH_ROWS = 5_000
MEMORY_LIMIT = "512MB"
BEFORE, AFTER = "before_run", "after_run"
NUM_NAMED = 5  # entities that a message names
TIMES = pa.schema([("key", pa.binary()), ("event_us", pa.int64())])
FOUND = pa.schema([("key", pa.binary()), ("then_us", pa.int64()), ("now_us", pa.int64())])


@dataclass(frozen=True)
class SetBack:
    """Entities that are older online than before.

    Attributes:
        num: how many.
        keys: serialized keys of the first `NUM_NAMED`.
    """

    num: int
    keys: list[bytes]


class AuditedTimes:
    """One audit's comparison with those before it; holds a few batches, and spills what it compares.

    Use it as a context: audits of a view take turns, and what one has on the way is removed at its end.

    Args:
        file: Parquet file with `key` (binary, serialized) and `event_us` (int64) of every entity; need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stack = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> "AuditedTimes":
        """Wait for other audits of the view and make a folder for what is on the way."""
        self._folder = self._stack.enter_context(_alone(self._file))
        for name, schema in ((BEFORE, FOUND), (AFTER, TIMES)):
            # Plain bytes: a user that is to be forgotten is found in what a killed audit left, too.
            self._writers[name] = pq.ParquetWriter(
                self._folder / name, schema, compression="none", use_dictionary=False
            )
        self._stack.callback(self._close)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove it."""
        self._stack.close()

    def find(self, read: Callable[[pa.BinaryArray], np.ndarray]) -> SetBack:
        """Compare what is online, before anything is written, with what the last audit left.

        An entity that is gone was forgotten or has expired: it starts anew.

        Args:
            read: serialized keys -> event times online in microseconds since 1970, `NOTHING` for one that is gone.
        """
        num, first = 0, list[bytes]()
        if not self._file.exists():
            return SetBack(0, [])
        with pq.ParquetFile(self._file) as past:
            for batch in past.iter_batches(BATCH_ROWS, use_threads=False):
                keys, then = batch["key"], batch["event_us"].to_numpy()
                now = read(keys)
                back = (now != NOTHING) & (now < then)
                num += int(back.sum())
                first += keys.filter(pa.array(back))[: NUM_NAMED - len(first)].to_pylist()
                there = pa.record_batch([keys, pa.array(then), pa.array(now)], FOUND).filter(pa.array(now != NOTHING))
                self._writers[BEFORE].write_batch(there)
        return SetBack(num, first)

    def add(self, rows: OnlineRows) -> None:
        """Take what an audit found online, each entity once."""
        self._writers[AFTER].write_batch(pa.record_batch([rows.keys, pa.array(rows.event_us)], TIMES))

    def still_back(self) -> SetBack:
        """Return who is older now, or was not audited and is older, than before the run or at the last audit."""
        with self._compared() as connection:
            found = connection.sql(f"""
                SELECT key, count(*) OVER () FROM {BEFORE} LEFT JOIN {AFTER} USING (key)
                WHERE coalesce(event_us, now_us) < greatest(then_us, now_us) ORDER BY key LIMIT {NUM_NAMED}
            """).fetchall()
        return SetBack(found[0][1] if found else 0, [key for key, _ in found])

    def keep(self) -> None:
        """Leave the newest times for the next audit; those of entities that are online alone are kept, too."""
        kept = self._folder / "kept.parquet"
        with self._compared() as connection:
            connection.execute(f"""
                COPY (
                    SELECT key, event_us FROM {AFTER} UNION ALL
                    SELECT key, greatest(then_us, now_us) FROM {BEFORE} ANTI JOIN {AFTER} USING (key)
                ) TO {_quoted(kept)} (FORMAT parquet, COMPRESSION zstd)
            """)
        os.replace(kept, self._file)

    def _compared(self) -> Any:
        self._close()
        connection = asof_join.connect(memory_limit=MEMORY_LIMIT, threads=2, temp_directory=str(self._folder))
        for name in self._writers:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({_quoted(self._folder / name)})")
        return connection

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def erase_entity(folder: Path, key: bytes) -> None:
    """Remove an entity, by its serialized key, from all files of a folder, and what a killed audit left there."""
    for name in {path.stem for path in folder.glob("*.*")}:
        file = folder / f"{name}.parquet"
        with _alone(file) as scratch:
            if not file.exists():
                continue
            kept = scratch / file.name
            with pq.ParquetFile(file) as past, pq.ParquetWriter(kept, TIMES, compression="zstd") as writer:
                for batch in past.iter_batches():
                    writer.write_batch(batch.filter(pc.not_equal(batch["key"], key)))
            os.replace(kept, file)


@contextmanager
def _alone(file: Path) -> Iterator[Path]:
    """An empty folder beside a file, for who replaces it: one at a time. What a killed one left is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = file.with_suffix(".scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _quoted(file: Path) -> str:
    return "'" + str(file).replace("'", "''") + "'"
