"""What the checks look at: the training set as it was written, and the raw rows it was made from.

Everything is a view or a table in one DuckDB connection, opened from the files themselves: neither the feature
transformations nor the point-in-time join of the platform takes part, so their mistakes cannot hide here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.config import FeatureConfig, LeakageConfig
from pipelines.contracts import RAW_TABLES, LeakageCheck, LeakageFinding, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.prepare import quote
from pipelines.data.schemas import LAKE_SCHEMAS
from pipelines.features.compute import connect

SPLITS = ("train", "validation", "test")
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Evidence:
    """A training set and its raw rows.

    Views of `connection`: `events`, `items` and `users` are the lake's raw rows at the snapshot's versions;
    `labels` is every row of the training set with `split` and `moment`, when it happened, in microseconds since 1970.

    Attributes:
        training_set: what is checked.
        connection: DuckDB.
        lake: has the feature tables.
        features: lengths of list features.
        config: sizes of samples, and limits.
        delay: the source's delay, microseconds.
        seed: decides the samples.
    """

    training_set: TrainingSet
    connection: Any
    lake: Lake
    features: FeatureConfig
    config: LeakageConfig
    delay: int
    seed: int

    @classmethod
    def open(
        cls,
        training_set: TrainingSet,
        *,
        lake: Lake,
        features: FeatureConfig,
        config: LeakageConfig,
        delay_seconds: float,
        seed: int,
        scratch: Path,
    ) -> "Evidence":
        """Open the files of a training set and of its snapshot.

        Raises:
            LakeError: a version that the snapshot names is gone.
        """
        connection = connect(features, scratch)
        versions = training_set.features.snapshot.versions
        for name in RAW_TABLES:
            _view(connection, lake, name, versions.get(name))
        parts = [
            f"SELECT *, epoch_us(event_timestamp) AS moment, '{split}' AS split "
            f"FROM read_parquet({quote(f'{training_set.uri}/{split}.parquet')}, file_row_number = true)"
            for split in SPLITS
        ]
        connection.execute(f"CREATE TEMP VIEW labels AS {' UNION ALL BY NAME '.join(parts)}")
        return cls(training_set, connection, lake, features, config, round(delay_seconds * MICROSECONDS), seed)

    @property
    def as_of(self) -> int:
        """The snapshot's `as_of`, microseconds since 1970."""
        return microseconds(self.training_set.features.snapshot.as_of)

    def columns(self) -> dict[str, str]:
        """Return name -> DuckDB type of the columns of the training set."""
        found = self.rows("SELECT column_name, column_type FROM (DESCRIBE labels)")
        return {name: kind for name, kind in found if name not in ("split", "moment", "file_row_number")}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        found: list[tuple[Any, ...]] = self.connection.execute(sql).fetchall()
        return found

    def sample(self, table: str, num_rows: int, *, splits: Sequence[str] = SPLITS) -> int:
        """Create table `table` from at most `num_rows` labels, as many of each split; returns how many there are.

        It has the columns of `labels` and `row`, numbered from 0 in order of time.
        """
        rng = np.random.default_rng(self.seed)
        picks = []
        for split in splits:
            total = self.training_set.num_rows[split]
            chosen = rng.permutation(total)[: -(-num_rows // len(splits))]
            picks.append(pa.table({"split": [split] * len(chosen), "file_row_number": np.sort(chosen)}))
        self.connection.register("picks", pa.concat_tables(picks))
        self.connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE {table} AS
            SELECT row_number() OVER (ORDER BY moment, event_id) - 1 AS row, *
            FROM labels SEMI JOIN picks USING (split, file_row_number)
        """)
        self.connection.unregister("picks")
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


def microseconds(moment: Any) -> int:
    """Return a moment as whole microseconds since 1970."""
    return int(np.datetime64(moment.replace(tzinfo=None), "us").astype(np.int64))


def outcome(
    name: str, question: str, num_checked: int, findings: Sequence[LeakageFinding], **other: Any
) -> LeakageCheck:
    """Return what a check found."""
    return LeakageCheck(name=name, question=question, num_checked=num_checked, findings=tuple(findings), **other)


def _view(connection: Any, lake: Lake, name: str, version: int | None) -> None:
    files = lake.files(name, version) if version is not None and "://" not in lake.root else []
    if files:
        connection.read_parquet(files, union_by_name=True).create_view(name)
    else:
        empty = LAKE_SCHEMAS[name].empty_table()
        connection.register(name, empty if version is None else lake.dataset(name, version=version))
