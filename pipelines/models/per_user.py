"""Accuracy of every user, as kept beside a report: what paired tests between evaluations need.

The file names no user: its rows are in the order of the holdout, whose digest says whether two files can be paired.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.models.holdout import Holdout, Measured

PER_USER = "per_user.parquet"
SYSTEM = "system"
Values = dict[str, dict[str, NDArray[np.float64]]]


def write_per_user(file: Path, measured: Mapping[str, Measured]) -> None:
    """Write a row a system and user, the users of each system in the order of the holdout, a column a metric."""
    metrics = list(next(iter(measured.values())).per_user)
    sizes = [len(result.per_user[metrics[0]]) for result in measured.values()]
    names = np.repeat(np.arange(len(measured)), sizes)
    systems = pa.DictionaryArray.from_arrays(pa.array(names, pa.int32()), pa.array(list(measured)))
    columns: dict[str, Any] = {
        name: np.concatenate([np.asarray(result.per_user[name], dtype=np.float64) for result in measured.values()])
        for name in metrics
    }
    pq.write_table(pa.table({SYSTEM: systems, **columns}), file, compression="zstd")


def read_per_user(file: Path) -> Values:
    """Return system -> metric -> `[num_users]`."""
    table = pq.read_table(file)
    systems = np.asarray(table[SYSTEM].cast(pa.string()))
    columns = {name: np.asarray(table[name], dtype=np.float64) for name in table.column_names if name != SYSTEM}
    return {
        str(system): {name: values[systems == system] for name, values in columns.items()}
        for system in dict.fromkeys(systems)
    }


def holdout_digest(holdout: Holdout) -> str:
    """Return a digest of users, items, what was seen and what is relevant: equal ones ask the same question."""
    digest = hashlib.sha256()
    for ids in (holdout.users, holdout.items["item_id"].combine_chunks()):
        digest.update(pa.record_batch({"id": ids}).serialize().to_pybytes())
    for mask in (holdout.seen, holdout.relevant):
        digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()
