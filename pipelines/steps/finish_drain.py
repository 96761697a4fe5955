"""Step: give a drained batch of served events up, once all of it is in the lake."""

import shutil
import time
from datetime import timedelta
from pathlib import Path

from pipelines.contracts import QUARANTINE, RAW_TABLES, Drain, IngestedPartition
from pipelines.data.lake import Lake
from pipelines.errors import LakeError
from pipelines.steps.append_partition import transaction_of
from pipelines.steps.seal_events import STAGED
from pipelines.steps.validate_partition import VALIDATED
from pipelines.stores.base import ArtifactStore
from pipelines.stores.served import ServedLog


def finish_drain(
    drain: Drain,
    ingested: IngestedPartition,
    *,
    keep: timedelta,
    keep_runs: timedelta,
    log: ServedLog,
    lake: Lake,
    artifacts: ArtifactStore,
) -> IngestedPartition:
    """Release the batch that was appended, and delete what older batches left behind.

    Args:
        drain: the batch.
        ingested: what appending it said.
        keep: how long drained records stay in the log.
        keep_runs: how long staged rows and reports of batches stay.
        log: where the batch waits; another batch than this one is left alone.
        lake: asked again, not believed: a batch is given up only when every table says it is there.
        artifacts: where batches were staged.

    Raises:
        LakeError: a table does not have the batch; nothing was given up.
    """
    if drain.batch is None:
        return ingested
    for table in (*RAW_TABLES, QUARANTINE):
        app_id, number = transaction_of(drain.batch.partition, table, raw_key="")
        done = lake.transaction(table, app_id)
        if done is None or done < number:
            raise LakeError(
                f"batch {number} of served events is not in {lake.uri(table)!r} (newest there: {done}); it is kept. "
                "Run `tandem drain-events`"
            )
    log.release(drain.batch, keep=keep)
    if drain.raw is not None:
        runs = artifacts.local(drain.raw.uri).parents[2]
        for kind in (STAGED, VALIDATED):
            _delete_older(runs / kind, keep_runs)
    return ingested


def _delete_older(folder: Path, keep: timedelta) -> None:
    deadline = time.time() - keep.total_seconds()
    for path in folder.glob("[!.]*"):
        if path.stat().st_mtime < deadline:
            shutil.rmtree(path, ignore_errors=True)
