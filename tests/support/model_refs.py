"""References and fakes for the steps that train: tiny rows, a feature store in memory."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.contracts import FeatureSet, Snapshot, TrainingSet
from pipelines.features.on_demand import taste_match
from tests.support.rows import feature_rows

ITEM_FEATURES = ("item_id", "title", "text", "categories", "item_num_events_1d", "item_num_events_7d",
                 "item_num_events_30d", "item_num_events", "item_mean_value", "item_num_values",
                 "item_value_std")  # fmt: skip
USER_FEATURES = ("user_num_events", "user_num_events_7d", "user_num_events_30d", "user_mean_value", "recent_items",
                 "taste_categories", "taste_weights", "attributes")  # fmt: skip


def training_set(folder: Path, rows: pa.Table | None = None, *, dataset: str = "tiny") -> TrainingSet:
    """Write the splits of `rows` (by default 1,000 tiny ones) to `folder` and return the reference."""
    rows = feature_rows(1_000) if rows is None else rows
    first, second = int(rows.num_rows * 0.7), int(rows.num_rows * 0.85)
    parts = {"train": rows.slice(0, first), "validation": rows.slice(first, second - first), "test": rows.slice(second)}
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in parts.items():
        pq.write_table(part, folder / f"{split}.parquet")
    stamps = rows["event_timestamp"]
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    snapshot = Snapshot(dataset=dataset, snapshot_id="snap", as_of=as_of, versions={"events": 0})
    return TrainingSet(
        features=FeatureSet(snapshot=snapshot, versions={"user_activity": 0}, num_rows={}),
        uri=str(folder),
        fingerprint=f"rows-{rows.num_rows}",
        feature_service="ranking_v1",
        validation_start=stamps[first].as_py(),
        test_start=stamps[second].as_py(),
        num_rows={split: part.num_rows for split, part in parts.items()},
    )


class RowFeatureStore:
    """Answers from feature rows: each side's newest row before the moment asked for."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.moments: list[datetime] = []

    def items_at(self, moment: datetime, *, features: FeatureSet) -> pa.Table:
        self.moments.append(moment)
        return _newest(self._before(moment), "item_id", ITEM_FEATURES)

    def historical(self, entity_rows: pa.Table, service: str, *, features: FeatureSet) -> pa.Table:
        newest = _newest(
            self._before(entity_rows["event_timestamp"][0].as_py()), "user_id", ("user_id", *USER_FEATURES)
        )
        found = pc.index_in(entity_rows["user_id"], value_set=newest["user_id"].combine_chunks())
        for name in USER_FEATURES:
            entity_rows = entity_rows.append_column(name, newest[name].take(found))
        return entity_rows.append_column("last_known_at", pa.nulls(entity_rows.num_rows, pa.timestamp("us", tz="UTC")))

    def join_candidates(self, pairs: pa.Table, *, features: FeatureSet) -> pa.Table:
        newest = _newest(self.rows, "item_id", ITEM_FEATURES)
        found = pc.index_in(pairs["item_id"], value_set=newest["item_id"].combine_chunks())
        for name in ITEM_FEATURES[1:]:
            pairs = pairs.append_column(name, newest[name].take(found))
        match = taste_match(pairs["taste_categories"], pairs["taste_weights"], pairs["categories"])
        return pairs.append_column("taste_match", pa.array(match))

    def _before(self, moment: datetime) -> pa.Table:
        limit = pa.scalar(moment, pa.timestamp("us", tz="UTC"))
        return self.rows.filter(pc.less(self.rows["event_timestamp"], limit))


class RowLake:
    """A lake with one version of the events table."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows.append_column("ingested_at", rows["event_timestamp"])

    def read(self, table: str, *, version: int, columns: list[str]) -> pa.Table:
        return self.rows.select(columns)


def _newest(rows: pa.Table, key: str, columns: tuple[str, ...]) -> pa.Table:
    numbered = pa.table({key: rows[key], "row": np.arange(rows.num_rows)})
    newest: Any = numbered.group_by(key).aggregate([("row", "max")]).sort_by(key)
    return rows.select(list(columns)).take(newest["row_max"]).combine_chunks()
