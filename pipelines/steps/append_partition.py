"""Step: append a validated partition to the lake, exactly once."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.contracts import EVENTS, ITEMS, QUARANTINE, USERS, IngestedPartition, ValidatedPartition, is_served
from pipelines.data.lake import Lake
from pipelines.data.prepare import KEYS, connect, quote
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.data.validation import Verdict
from pipelines.errors import DataContractError
from pipelines.stores.base import ArtifactStore

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS = 100_000


def append_partition(validated: ValidatedPartition, *, lake: Lake, artifacts: ArtifactStore) -> IngestedPartition:
    """Append accepted rows to events, items and users, and rejected ones to quarantine.

    Each table is one Delta commit that also records the partition, so running the step again, also after a kill
    between two tables, adds what is missing and nothing twice. Events come last: whoever sees them finds their
    items and users. Items and users are histories: a row is added when it differs from the one valid before it.

    Raises:
        DataContractError: the partition is in the lake with other raw rows, or another partition brought some of
            its events since it was validated.
    """
    folder = artifacts.local(validated.uri)
    verdict = Verdict.load(folder)
    appended = {table: _append(table, folder, validated, verdict, lake) for table in (ITEMS, USERS, QUARANTINE, EVENTS)}
    return IngestedPartition(
        dataset=validated.dataset, partition=validated.partition, versions=lake.versions(), num_appended=appended
    )


def transaction_of(partition: str, table: str, *, raw_key: str) -> tuple[str, int]:
    """Return the Delta transaction that records a partition in a table: application id and version.

    Batches of served events share one id and count up: whichever was written last says that all before it are there,
    and a table keeps one entry for a log, not one for each of its batches.
    """
    if is_served(partition):
        log, number = partition.rsplit(":", 1)
        return f"{log}:{table}", int(number)
    return f"{partition}:{table}", int(raw_key[:15], 16)


def _append(table: str, folder: Path, validated: ValidatedPartition, verdict: Verdict, lake: Lake) -> int:
    """Append one table's rows and return how many were added now."""
    served = is_served(validated.partition)
    app_id, content = transaction_of(validated.partition, table, raw_key=verdict.raw_key)
    done = lake.transaction(table, app_id)
    if done == content or (served and done is not None and done > content):
        return 0
    if done is not None and not served:
        raise DataContractError(
            f"partition {validated.partition!r} of {validated.dataset} is in the lake already, made of other raw rows. "
            "Ingest new rows as a partition of their own, START/END by arrival date; for a changed source or seed "
            "choose another --dataset"
        )
    with connect(folder.parent / ".spill") as connection:
        rows = _new_rows(connection, table, folder, validated.partition, verdict, lake)
        ((count,),) = connection.execute(f"SELECT count(*) FROM ({rows})").fetchall()
        names = ", ".join(f'"{name}"' for name in LAKE_SCHEMAS[table].names)
        found = connection.sql(f"SELECT {names} FROM ({rows})").to_arrow_reader(_BATCH_ROWS)
        return (
            count if lake.append_once(table, found.cast(LAKE_SCHEMAS[table]), app_id=app_id, app_version=content) else 0
        )


def _new_rows(
    connection: "duckdb.DuckDBPyConnection", table: str, folder: Path, partition: str, verdict: Verdict, lake: Lake
) -> str:
    """Return SQL of the rows to append."""
    accepted = f"SELECT * FROM read_parquet({quote(folder / f'{table}.parquet')})"
    version = lake.version(table)
    if version is not None and table != QUARANTINE:
        connection.register("known", lake.dataset(table, version=version))
    if table == EVENTS:
        if version is not None and version != verdict.lake_versions.get(EVENTS):
            _check_still_new(connection, accepted, partition)
        return f"SELECT *, {quote(partition)} AS source_partition FROM ({accepted})"
    if table == QUARANTINE or version is None:
        return accepted
    key = KEYS[table][0]
    content = [name for name in LAKE_SCHEMAS[table].names if name not in KEYS[table]]
    changed = " OR ".join(f"known.{name} IS DISTINCT FROM new.{name}" for name in content)
    return (
        f"SELECT new.* FROM ({accepted}) new ASOF LEFT JOIN known "
        f"ON new.{key} = known.{key} AND new.updated_at >= known.updated_at WHERE known.{key} IS NULL OR {changed}"
    )


def _check_still_new(connection: "duckdb.DuckDBPyConnection", accepted: str, partition: str) -> None:
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM ({accepted}) JOIN known USING (event_id) WHERE source_partition <> {quote(partition)}"
    ).fetchall()
    if count:
        raise DataContractError(
            f"{count:,} events of partition {partition!r} came into the lake by another partition after it was "
            "validated. Run `tandem validate-partition` again, then append"
        )
