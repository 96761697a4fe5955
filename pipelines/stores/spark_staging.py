"""A folder that driver and executors share: rows for Spark to read, and rows it wrote, read back batch by batch."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stores.asof_join import BATCH_ROWS
from pipelines.stores.asof_sources import open_filesystem

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Staging:
    """A new folder below `root`, which is on a shared disk or in an object store; in local mode any folder will do.

    Args:
        root: folder or prefix.
        storage_options: how this process reaches an object store; executors have their own settings.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str]) -> None:
        self._folder = f"{root.rstrip('/')}/spark-{uuid4().hex}"
        self._options = dict(storage_options)

    def put(self, session: "SparkSession", name: str, rows: pa.Table) -> "DataFrame":
        """Write rows and return them as Spark reads them."""
        filesystem, within = open_filesystem(self.uri(name), self._options)
        if "://" not in self._folder:
            filesystem.create_dir(within.rpartition("/")[0])
        pq.write_table(rows, within, filesystem=filesystem, row_group_size=1_000_000)
        return session.read.parquet(self.uri(name))

    def write(self, name: str, rows: "DataFrame") -> None:
        """Let the executors write rows, in their order."""
        rows.write.option("compression", "zstd").parquet(self.uri(name))

    def read(self, name: str) -> pa.RecordBatchReader:
        """Return what `write` wrote, in its order, a batch at a time."""
        from pyarrow import fs

        filesystem, within = open_filesystem(self.uri(name), self._options)
        found = [
            info for info in filesystem.get_file_info(fs.FileSelector(within)) if info.base_name.endswith(".parquet")
        ]
        # Named part-NUMBER-...: numbers, since text would put 100000 before 99999.
        paths = [info.path for info in sorted(found, key=lambda info: int(info.base_name.split("-")[1]))]

        def batches() -> Iterator[pa.RecordBatch]:
            for path in paths:
                with pq.ParquetFile(path, filesystem=filesystem) as file:
                    yield from file.iter_batches(BATCH_ROWS)

        return pa.RecordBatchReader.from_batches(pq.read_schema(paths[0], filesystem=filesystem), batches())

    def remove(self) -> None:
        """Delete the folder and all in it."""
        filesystem, within = open_filesystem(self._folder, self._options)
        with contextlib.suppress(FileNotFoundError):
            filesystem.delete_dir(within)

    def uri(self, name: str) -> str:
        """Return where `name` is."""
        return f"{self._folder}/{name}"
