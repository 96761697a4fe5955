"""A small training set, clean, and ways to plant a leak in it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import LeakageConfig
from pipelines.contracts import TrainingSet
from pipelines.leakage.evidence import SPLITS, Evidence
from tests.support.feature_data import Row, Workspace, random_tables

CONFIG = LeakageConfig(num_rows=90, num_probed=300, max_future_events=1_000)


@dataclass(frozen=True)
class Built:
    """A home with its lake, and the training set made from it."""

    workspace: Workspace
    training_set: TrainingSet

    @classmethod
    def at(cls, home: Path, tables: dict[str, list[Row]] | None = None) -> "Built":
        workspace = Workspace(home)
        snapshot = workspace.fill(tables or random_tables(seed=21))
        workspace.declare()
        return cls(workspace, workspace.train(workspace.compute(snapshot)))

    def evidence(self, **changed: object) -> Evidence:
        """Evidence on the training set, with fields of its reference changed."""
        return Evidence.open(
            self.training_set.model_copy(update=changed),
            lake=self.workspace.lake,
            features=self.workspace.config,
            config=CONFIG,
            delay_seconds=self.workspace.delay_seconds,
            seed=1,
            scratch=self.workspace.home / "scratch",
        )

    def rows(self, split: str) -> pa.Table:
        return pq.read_table(f"{self.training_set.uri}/{split}.parquet")

    def doctored(self, folder: Path, change: Callable[[dict[str, pa.Table]], dict[str, pa.Table]]) -> "Built":
        """The same with other rows: `change` takes and returns split -> rows."""
        shutil.copytree(self.training_set.uri, folder)
        parts = change({split: self.rows(split) for split in SPLITS})
        for split, rows in parts.items():
            pq.write_table(rows, folder / f"{split}.parquet")
        num_rows = {split: rows.num_rows for split, rows in parts.items()}
        return Built(self.workspace, self.training_set.model_copy(update={"uri": str(folder), "num_rows": num_rows}))

    def with_column(self, folder: Path, name: str, make: Callable[[pa.Table], pa.Array]) -> "Built":
        """The same with a column added or replaced in every part."""

        def change(parts: dict[str, pa.Table]) -> dict[str, pa.Table]:
            return {split: set_column(rows, name, make(rows)) for split, rows in parts.items()}

        return self.doctored(folder, change)


def set_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    return rows.append_column(name, values)
