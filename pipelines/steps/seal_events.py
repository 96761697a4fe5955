"""Step: claim the served events that wait, and stage them as a raw partition."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.contracts import (
    EVENTS,
    INGESTED_AT,
    ITEMS,
    QUARANTINE,
    RAW_TABLES,
    USER_ID,
    USERS,
    Drain,
    EventBatch,
    RawPartition,
    partition_of,
)
from pipelines.data.lake import Lake
from pipelines.data.schemas import RAW_SCHEMAS
from pipelines.steps.append_partition import transaction_of
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore
from pipelines.stores.forgotten import ForgottenUsers
from pipelines.stores.served import UNASSIGNED, UNREADABLE, ServedLog

if TYPE_CHECKING:
    import pyarrow as pa

STAGED = "served/raw"


def seal_events(
    dataset: str, *, log: ServedLog, lake: Lake, artifacts: ArtifactStore, forgotten: ForgottenUsers | None = None
) -> Drain:
    """Claim a batch of a data set's served events, or of those that came before serving knew one, and stage it.

    The batch stays claimed until `finish_drain`: whatever is killed from here on, this step returns the same batch
    again, and `append_partition` adds it once. A user the lake does not know comes along as a user without
    attributes; an item it does not know is for validation to set aside. Events of users who were forgotten, taken in
    before serving had learned of it, are left out.

    Args:
        dataset: whose events, and whose lake they go to.
        log: where serving keeps them.
        lake: says which batches are in already, and which users are known.
        artifacts: where the partition is staged.
        forgotten: whose events are left out; None is nobody's.
    """
    for name in (dataset, UNASSIGNED):
        batch = log.claim(name, after=_last_number(lake, log, name)) if name in log.names() else None
        if batch is not None:
            return Drain(batch=batch, raw=_stage(batch, dataset, log, lake, artifacts, forgotten))
    return Drain(batch=None, raw=None)


def _last_number(lake: Lake, log: ServedLog, name: str) -> int:
    """The last batch of a log that is in the lake: a log restored from a backup must not use its number again."""
    partition = partition_of(log.log_id(), name, 0)
    tables = (*RAW_TABLES, QUARANTINE)
    found = [lake.transaction(table, transaction_of(partition, table, raw_key="")[0]) for table in tables]
    return max((number for number in found if number is not None), default=0)


def _stage(
    batch: EventBatch,
    dataset: str,
    log: ServedLog,
    lake: Lake,
    artifacts: ArtifactStore,
    forgotten: ForgottenUsers | None,
) -> RawPartition:
    import pyarrow.parquet as pq

    def write(folder: Path) -> None:
        users: dict[str, str] = {}
        with pq.ParquetWriter(folder / f"{EVENTS}.parquet", _event_schema()) as writer:
            for found in log.read(batch):
                records = [r for r in found if not (forgotten and forgotten.has(dataset, str(r.get(USER_ID))))]
                writer.write_table(_events(records))
                for record in records:
                    if USER_ID in record:
                        users.setdefault(record[USER_ID], record[INGESTED_AT])
        pq.write_table(_new_users(users, lake), folder / f"{USERS}.parquet")
        pq.write_table(RAW_SCHEMAS[ITEMS].empty_table(), folder / f"{ITEMS}.parquet")

    uri = artifacts.publish(f"{dataset}/{STAGED}/{content_key(batch=batch.model_dump(mode='json'))}", write)
    folder = artifacts.local(uri)
    num_rows = {table: pq.read_metadata(folder / f"{table}.parquet").num_rows for table in RAW_TABLES}
    return RawPartition(dataset=dataset, partition=batch.partition, uri=uri, num_rows=num_rows)


def _event_schema() -> "pa.Schema":
    """The columns as they come, times as text, which validation converts; and the text of what could not be read."""
    import pyarrow as pa

    times = pa.types.is_timestamp
    fields = [pa.field(f.name, pa.string() if times(f.type) else f.type) for f in RAW_SCHEMAS[EVENTS]]
    return pa.schema([*fields, pa.field(UNREADABLE, pa.string())])


def _events(records: list[dict[str, Any]]) -> "pa.Table":
    import pyarrow as pa

    schema = _event_schema()
    return pa.table({f.name: pa.array([r.get(f.name) for r in records], f.type) for f in schema}, schema=schema)


def _new_users(users: dict[str, str], lake: Lake) -> "pa.Table":
    """Users the lake does not know, from their first event on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = RAW_SCHEMAS[USERS]
    ids = pa.array(list(users), pa.string())
    version = lake.version(USERS)
    if version is not None:
        found = lake.dataset(USERS, version=version).to_table(columns=[USER_ID], filter=pc.field(USER_ID).isin(ids))
        ids = ids.filter(pc.invert(pc.is_in(ids, value_set=found[USER_ID].combine_chunks())))
    moments = pa.array([users[user] for user in ids.to_pylist()], pa.string()).cast(schema.field("updated_at").type)
    return pa.table([ids, pa.array([[]] * len(ids), schema.field("attributes").type), moments], schema=schema)
