"""Labels: the events a model may learn from, in order of time, and where time splits them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.config import FeatureConfig, SplitConfig
from pipelines.contracts import EVENT_ID, EVENT_TIMESTAMP, EVENTS, ITEM_ID, USER_ID, Snapshot
from pipelines.data.lake import Lake
from pipelines.errors import TrainingError
from pipelines.features.compute import connect, raw_table, run
from pipelines.features.events import known_events

LABEL_COLUMNS = [EVENT_ID, USER_ID, ITEM_ID, "event_type", "value", EVENT_TIMESTAMP, "session_id", "device"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class TimeSplit:
    """Where time divides the labels: train < `validation_start` <= validation < `test_start` <= test."""

    validation_start: datetime
    test_start: datetime
    num_rows: dict[str, int]


def read_labels(
    snapshot: Snapshot, *, config: FeatureConfig, delay_seconds: float, lake: Lake, scratch: Path
) -> pa.Table:
    """Return every event known before the snapshot's `as_of`, in order of (`event_timestamp`, `event_id`)."""
    connection = connect(config, scratch)
    events = raw_table(connection, lake, snapshot, EVENTS)
    known = known_events(events, as_of=snapshot.as_of, delay_seconds=delay_seconds)
    zoned = known[EVENT_TIMESTAMP].cast("timestamp('UTC', 6)")
    ordered = known.mutate(**{EVENT_TIMESTAMP: zoned}).select(LABEL_COLUMNS).order_by([EVENT_TIMESTAMP, EVENT_ID])
    return run(connection, ordered).to_arrow_table()


def split_by_time(labels: pa.Table, config: SplitConfig) -> TimeSplit:
    """Cut labels at quantiles of their time; labels of the same moment stay on one side, the later one.

    Args:
        labels: `[num_labels, ...]` in order of `event_timestamp`.
        config: shares of validation and test.

    Raises:
        TrainingError: a part would be empty.
    """
    moments = np.asarray(labels[EVENT_TIMESTAMP].cast(pa.int64()))
    num = len(moments)
    cuts = [num - round(num * (config.validation_share + config.test_share)), num - round(num * config.test_share)]
    starts = [int(np.searchsorted(moments, moments[cut])) if cut < num else num for cut in cuts]
    sizes = dict(zip(SPLITS, np.diff([0, *starts, num]).tolist(), strict=True))
    if min(sizes.values()) < 1:
        raise TrainingError(
            f"a split by time of {num} labels gives {sizes} rows; expected at least one in each part. "
            "Ingest events of more moments, or change split.validation_share and split.test_share"
        )
    validation_start, test_start = (labels[EVENT_TIMESTAMP][start].as_py() for start in starts)
    return TimeSplit(validation_start, test_start, sizes)
