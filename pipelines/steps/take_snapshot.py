"""Step: fix `as_of` and the lake versions that everything downstream reads."""

from datetime import datetime, timedelta

from pipelines.contracts import EVENTS, RAW_TABLES, Snapshot
from pipelines.data.lake import Lake
from pipelines.errors import LakeError
from pipelines.stores.artifacts import content_key


def take_snapshot(dataset: str, *, lake: Lake, as_of: datetime | None, delay_seconds: float) -> Snapshot:
    """Return a snapshot of the lake's newest versions.

    Args:
        dataset: namespace the snapshot belongs to.
        lake: where the raw tables are.
        as_of: the moment whose knowledge may be used, UTC; None takes the moment after the newest `known_at` in
            the lake (the data's own clock), so that historical data sets behave as if they ended now.
        delay_seconds: the source's delay, part of `known_at`.

    Raises:
        LakeError: a raw table is missing, or there is no event.
    """
    versions = lake.versions()
    missing = [table for table in RAW_TABLES if table not in versions]
    if missing:
        raise LakeError(f"lake {lake.root} has no {', '.join(missing)}; run `tandem ingest-events` first")
    fixed = {table: versions[table] for table in RAW_TABLES}
    moment = as_of or _newest_known_at(lake, fixed[EVENTS]) + timedelta(seconds=delay_seconds, microseconds=1)
    digest = content_key(dataset=dataset, as_of=moment.isoformat(), versions=fixed)
    return Snapshot(dataset=dataset, snapshot_id=digest, as_of=moment, versions=fixed)


def _newest_known_at(lake: Lake, version: int) -> datetime:
    import pyarrow.compute as pc

    columns = ["event_timestamp", "ingested_at"]
    batches = lake.dataset(EVENTS, version=version).to_batches(columns=columns)
    moments: list[datetime] = [
        pc.max(batch.column(name)).as_py() for batch in batches if batch.num_rows for name in columns
    ]
    if not moments:
        raise LakeError(f"lake {lake.root} has no event; expected at least one. Run `tandem ingest-events` first")
    return max(moments)
