"""A user in the lake: rows of the newest version, and everything that older versions and the log still have."""

from dataclasses import dataclass
from posixpath import basename

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.lake import LOG, Lake
from pipelines.forgetting.files import PARQUET
from pipelines.forgetting.needle import USER_COLUMNS, Needle


@dataclass(frozen=True)
class TableRows:
    """The newest version of a lake table.

    Attributes:
        lake: which lake.
        table: which table.
        needle: whom to look for.
    """

    lake: Lake
    table: str
    needle: Needle
    unit: str = "rows"

    @property
    def name(self) -> str:
        """Where it is."""
        return f"lake table {self.table}"

    def count(self) -> int:
        """Return how many rows are the user's."""
        version = self.lake.version(self.table)
        columns = _users_in(self.lake, self.table, version) if version is not None else []
        if version is None or not columns:
            return 0
        return sum(map(self.needle.rows, self.lake.dataset(self.table, version=version).to_batches(columns=columns)))

    def remove(self) -> None:
        """Delete them: a new version, which alone is without them."""
        version = self.lake.version(self.table)
        predicate = self.needle.predicate(_users_in(self.lake, self.table, version)) if version is not None else None
        if predicate is not None:
            self.lake.delete_rows(self.table, predicate)


@dataclass(frozen=True)
class TableHistory:
    """Files that the newest version does not need, and the log, which has smallest and largest values of each file.

    Attributes:
        lake: which lake.
        table: which table.
        needle: whom to look for.
    """

    lake: Lake
    table: str
    needle: Needle
    unit: str = "files"

    @property
    def name(self) -> str:
        """Where it is."""
        return f"history of lake table {self.table}"

    def count(self) -> int:
        """Return how many older files and files of the log hold the user."""
        return len(self._found())

    def remove(self) -> None:
        """Make the newest version the only one, and delete what no version names and holds the user."""
        self.lake.drop_history(self.table)
        filesystem = self.lake.filesystem()
        for path in self._found():
            if f"/{LOG}/" not in path:
                filesystem.delete_file(path)

    def _found(self) -> list[str]:
        version = self.lake.version(self.table)
        live = {basename(file) for file in self.lake.files(self.table, version)} if version is not None else set()
        mine = [path for path in self.lake.list_files() if path.startswith(f"{self.table}/")]
        old = [path for path in mine if f"/{LOG}/" not in path and basename(path) not in live and self._holds(path)]
        if not old and not (version is not None and _users_in(self.lake, self.table, version)):
            return []
        return [*old, *(path for path in mine if f"/{LOG}/" in path and self._is_named_in(path))]

    def _holds(self, path: str) -> bool:
        with self.lake.filesystem().open_input_file(path) as file:
            try:
                with pq.ParquetFile(file) as parquet:
                    columns = [name for name in parquet.schema_arrow.names if name in USER_COLUMNS]
                    batches = parquet.iter_batches(columns=columns) if columns else ()
                    return any(self.needle.rows(batch) for batch in batches)
            except pa.ArrowInvalid:  # a killed writer's half of a file
                file.seek(0)
                return self.needle.within(file.read())

    def _is_named_in(self, path: str) -> bool:
        with self.lake.filesystem().open_input_file(path) as file:
            if path.endswith(PARQUET):  # a checkpoint: what the log says of the files there are
                return self.needle.within(str(pq.read_table(file).to_pylist()).encode())
            return self.needle.within(file.read())


def _users_in(lake: Lake, table: str, version: int) -> list[str]:
    """The columns of a table's version that speak of users."""
    return [name for name in lake.dataset(table, version=version).schema.names if name in USER_COLUMNS]
