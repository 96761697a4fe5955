"""Step: read one raw partition from its source and stage it, unchanged, as Parquet."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import SourceConfig
from pipelines.contracts import RAW_TABLES, RawPartition
from pipelines.sources.base import open_source, parse_partition
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore
from pipelines.stores.forgotten import ForgottenUsers

if TYPE_CHECKING:
    import pyarrow as pa

Kept = Callable[["pa.RecordBatch"], "pa.RecordBatch"]
_LAYOUT = 2  # part of the key: raise it when the staged rows of an unchanged source change


def read_partition(
    partition: str,
    *,
    dataset: str,
    source: SourceConfig,
    artifacts: ArtifactStore,
    home: Path,
    seed: int,
    forgotten: ForgottenUsers | None = None,
) -> RawPartition:
    """Stage a partition's events, items and users below one published folder.

    Rows of users who were forgotten are left out: a source that still has them must not bring them back.

    Args:
        partition: `all`, or `START/END` with ISO dates over arrival (`ingested_at`), half-open.
        dataset: namespace of lake, features and runs.
        source: where the rows come from.
        artifacts: where the staged folder is published.
        home: downloads are kept below it.
        seed: decides the synthetic source's rows.
        forgotten: whose rows are left out; None is nobody.

    Raises:
        SourceError: the source is missing, empty or malformed.
        ConfigError: partition, source or mapping is not legal.
    """
    import pyarrow.parquet as pq

    parse_partition(partition)
    opened = open_source(source, seed=seed, home=home)
    key = content_key(partition=partition, source=opened.fingerprint(), layout=_LAYOUT)

    def write(folder: Path) -> None:
        tables = opened.read(partition)
        for table in RAW_TABLES:
            kept = (lambda batch: forgotten.without(dataset, batch)) if forgotten else None
            _stage(getattr(tables, table), folder / f"{table}.parquet", kept)

    uri = artifacts.publish(f"{dataset}/read_partition/{key}", write)
    folder = artifacts.local(uri)
    num_rows = {table: pq.read_metadata(folder / f"{table}.parquet").num_rows for table in RAW_TABLES}
    return RawPartition(dataset=dataset, partition=partition, uri=uri, num_rows=num_rows)


def _stage(batches: "pa.RecordBatchReader", path: Path, kept: Kept | None) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(kept(batch) if kept else batch)
