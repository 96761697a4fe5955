"""The lake: Delta tables under one root, on a local path or an object store.

Readers always name a version, so a table that grows meanwhile cannot change what they see. Writers of raw
tables use Delta's application transactions: the commit that adds the rows also records who added them, so a
retry after a crash finds either both or neither.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipelines.contracts import QUARANTINE, RAW_TABLES
from pipelines.errors import LakeError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads
    from deltalake import DeltaTable
    from pyarrow.fs import FileSystem


RETENTION = "interval 36500 days"
KEEP = {"delta.logRetentionDuration": RETENTION, "delta.deletedFileRetentionDuration": RETENTION}
"""Table properties: Delta's own defaults forget versions after 30 days, and a training set names its versions."""
DROP = dict.fromkeys(KEEP, "interval 0 seconds")
LOG = "_delta_log"


class Lake:
    """Delta tables of one data set.

    Args:
        root: folder or object-store prefix, such as `s3://bucket/lake/movielens-1m`.
        storage_options: passed to the object store, such as `{"AWS_ENDPOINT_URL": ...}`. Credentials that are
            in the process environment (`AWS_ACCESS_KEY_ID`, ...) need not be repeated here.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = str(root).rstrip("/")
        self._options = dict(storage_options or {}) or None

    def uri(self, table: str) -> str:
        """Return where a table lives."""
        return f"{self.root}/{table}"

    def version(self, table: str) -> int | None:
        """Return a table's newest version, or None when it does not exist yet."""
        handle = self._find(table)
        return None if handle is None else int(handle.version())

    def versions(self) -> dict[str, int]:
        """Return the newest version of each raw table, and of quarantine, that exists."""
        found = {table: self.version(table) for table in (*RAW_TABLES, QUARANTINE)}
        return {table: version for table, version in found.items() if version is not None}

    def files(self, table: str, version: int) -> list[str]:
        """Return the Parquet files of one version, for DuckDB's `read_parquet`."""
        uris = self._open(table, version).file_uris()
        # Delta percent-encodes its URIs; DuckDB opens local paths literally.
        return [uri if "://" in uri else unquote(uri) for uri in uris]

    def dataset(self, table: str, *, version: int) -> "pads.Dataset":
        """Return one version as a lazy Arrow dataset; unlike `files`, it also streams from object stores."""
        return self._open(table, version).to_pyarrow_dataset()

    def read(self, table: str, *, version: int, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return one version of a table, or the named columns of it.

        Raises:
            LakeError: the table or that version does not exist.
        """
        return self.dataset(table, version=version).to_table(columns=list(columns) if columns else None)

    def transaction(self, table: str, app_id: str) -> int | None:
        """Return the `app_version` under which `app_id` appended to a table, or None if it did not."""
        handle = self._find(table)
        return None if handle is None else handle.transaction_version(app_id)

    def has_transaction(self, table: str, app_id: str) -> bool:
        """Return whether `append_once` already appended under this `app_id`."""
        return self.transaction(table, app_id) is not None

    def append_once(
        self, table: str, data: "pa.Table | pa.RecordBatchReader", *, app_id: str, app_version: int = 1
    ) -> bool:
        """Append `data` unless `app_id` already appended to this table at this or a later `app_version`.

        Rows and the record of the transaction are one commit. Of two racing writers one wins; the other is told.

        Returns:
            True if the rows were appended now, False if they were there already.

        Raises:
            LakeError: the store refused the commit for another reason than a finished racing writer.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        handle = self._create(table, data.schema)
        done = handle.transaction_version(app_id)
        if done is not None and done >= app_version:
            return False
        commit = CommitProperties(app_transactions=[Transaction(app_id, app_version)])
        try:
            write_deltalake(handle, data, mode="append", commit_properties=commit)
        except DeltaError as error:
            done = self.transaction(table, app_id)
            if done is not None and done >= app_version:
                return False
            raise LakeError(f"could not append to {self.uri(table)}: {error}. Run the step again") from error
        return True

    def overwrite(self, table: str, data: "pa.Table | pa.RecordBatchReader") -> int:
        """Replace a table's rows, keeping older versions readable, and return the new version."""
        from deltalake import write_deltalake
        from deltalake.exceptions import DeltaError

        try:
            write_deltalake(
                self.uri(table),
                data,
                mode="overwrite",
                schema_mode="overwrite",
                configuration=KEEP,
                storage_options=self._options,
            )
        except DeltaError as error:
            raise LakeError(f"could not write {self.uri(table)}: {error}. Run the step again") from error
        return int(self._open(table, None).version())

    def adopt(self, table: str, folder: str, schema: "pa.Schema") -> tuple[int, int]:
        """Replace a table's rows by Parquet files that another engine wrote into `folder` of the table.

        One commit names them all; of the files only their footers are read.

        Returns:
            The new version, and its rows.

        Raises:
            LakeError: the store refused the commit.
        """
        import pyarrow.parquet as pq
        from deltalake.exceptions import DeltaError
        from deltalake.fs import DeltaStorageHandler
        from deltalake.transaction import AddAction
        from pyarrow import fs

        handle = self._create(table, schema)
        files = fs.PyFileSystem(DeltaStorageHandler(self.uri(table), self._options))
        added, num_rows = [], 0
        for info in files.get_file_info(fs.FileSelector(folder)):
            if info.base_name.endswith(".parquet"):
                rows = pq.read_metadata(info.path, filesystem=files).num_rows
                at = info.mtime_ns // 1_000_000
                added.append(AddAction(info.path, info.size, {}, at, True, json.dumps({"numRecords": rows})))
                num_rows += rows
        try:
            handle.create_write_transaction(added, "overwrite", schema)
        except DeltaError as error:
            raise LakeError(f"could not write {self.uri(table)}: {error}. Run the step again") from error
        return int(self._open(table, None).version()), num_rows

    def require_files(self, table: str, version: int) -> None:
        """Check that a version can still be read whole.

        Raises:
            LakeError: the version, or one of its files, was removed.
        """
        dataset = self._open(table, version).to_pyarrow_dataset()
        found = dataset.filesystem.get_file_info(dataset.files) if dataset.files else []
        gone = [info.path for info in found if not info.is_file]
        if gone:
            raise LakeError(
                f"version {version} of lake table {self.uri(table)!r} cannot be read: {len(gone)} of {len(found)} "
                f"files were vacuumed, such as {gone[0]}; expected all. Bring them back from a backup; to keep "
                "versions that training sets name, vacuum with `tandem compact-lake` alone"
            )

    def compact(self, table: str) -> None:
        """Write a table's small files together; older versions stay as they are."""
        self._open(table, None).optimize.compact()

    def vacuum(self, table: str, *, keep: Sequence[int], keep_hours: int) -> list[str]:
        """Remove files that neither the newest version nor those of `keep` need; returns their names.

        Writers are safe: only files that the log knows as removed are deleted. A reader of a version that is not kept
        fails when one of its files was replaced more than `keep_hours` ago.
        """
        handle = self._open(table, None)
        options = {"retention_hours": keep_hours, "enforce_retention_duration": False, "dry_run": False}
        removed: list[str] = handle.vacuum(**options, keep_versions=sorted(set(keep)))
        return removed

    def filesystem(self) -> "FileSystem":
        """Return every file below the root, by paths relative to it, wherever the lake is."""
        from deltalake.fs import DeltaStorageHandler
        from pyarrow.fs import PyFileSystem

        return PyFileSystem(DeltaStorageHandler(self.root, self._options))

    def list_files(self) -> list[str]:
        """Return the path below the root of every file: of all versions, logs, and what a killed writer left."""
        from pyarrow.fs import FileSelector

        found = self.filesystem().get_file_info(FileSelector("", recursive=True, allow_not_found=True))
        return sorted(info.path for info in found if info.is_file)

    def tables(self) -> list[str]:
        """Return the names of all tables, also of those that no code writes any more."""
        parts = (path.split(f"/{LOG}/") for path in self.list_files())
        return sorted({table for table, *log in parts if log})

    def delete_rows(self, table: str, predicate: str) -> None:
        """Delete the rows of the newest version for which a SQL predicate is true.

        Older versions keep them, and the table's log the predicate, until `drop_history`.
        """
        from deltalake.exceptions import DeltaError

        try:
            self._open(table, None).delete(predicate)
        except DeltaError as error:
            raise LakeError(f"could not delete rows of {self.uri(table)}: {error}. Run the step again") from error

    def drop_history(self, table: str) -> None:
        """Make the newest version the only one: older files go, and all of the log that speaks of them.

        Numbers of versions and the record of who appended go on. A reader of an older version fails. Writers are safe:
        only files that the log knows as removed are deleted.
        """
        options = {"retention_hours": 0, "enforce_retention_duration": False, "dry_run": False}
        self._open(table, None).vacuum(**options)
        self._open(table, None).alter.set_table_properties(DROP)
        handle = self._open(table, None)
        handle.create_checkpoint()
        handle.cleanup_metadata()
        handle.alter.set_table_properties(KEEP)

    def _create(self, table: str, schema: "pa.Schema") -> "DeltaTable":
        from deltalake import DeltaTable

        return self._find(table) or DeltaTable.create(
            self.uri(table), schema=schema, mode="ignore", configuration=KEEP, storage_options=self._options
        )

    def _find(self, table: str) -> "DeltaTable | None":
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self.uri(table), storage_options=self._options)
        except TableNotFoundError:
            return None

    def _open(self, table: str, version: int | None) -> "DeltaTable":
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.uri(table), version=version, storage_options=self._options)
        except DeltaError as error:
            newest = self.version(table)
            if version is not None and newest is not None and version < newest:
                raise LakeError(
                    f"lake table {self.uri(table)!r} has no version {version} any more; expected one of those up to "
                    f"{newest} that are left. Its history went when a user was forgotten, and what was built on it "
                    "cannot be built again. Materialize and train on a new snapshot: `tandem materialize-features`"
                ) from error
            raise LakeError(
                f"lake table {self.uri(table)!r} has no version {version}; expected one that a step wrote. "
                f"Run `tandem ingest-events` for this data set first ({error})"
            ) from error
