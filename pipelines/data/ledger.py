"""Which training sets were ever built: one row each in the lake, with all that building one again needs.

It lies beside the data it names, so it is backed up with it; folders below `runs` may be deleted at any time.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.config import SplitConfig
from pipelines.contracts import FeatureSet, TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.schemas import TIMESTAMP
from pipelines.errors import LakeError
from pipelines.stores.artifacts import content_key, folder_files

TABLE = "training_sets"
SCHEMA = pa.schema(
    {"fingerprint": pa.string(), "as_of": TIMESTAMP, "training_set": pa.string(), "settings": pa.string()}
)
MARK = 12


@dataclass(frozen=True)
class LedgerEntry:
    """A training set that was built.

    Attributes:
        training_set: its reference, with the lake versions it names; its folder may be gone.
        split: how time divided it.
        delay_seconds: the source's delay.
        files: file name -> SHA-256 of what was written.
    """

    training_set: TrainingSet
    split: SplitConfig
    delay_seconds: float
    files: dict[str, str]

    @property
    def versions(self) -> dict[str, int]:
        """Lake table -> version that building it again reads."""
        return versions_of(self.training_set.features)


def versions_of(features: FeatureSet) -> dict[str, int]:
    """Return lake table -> version of all that features were made from and are."""
    return {**features.snapshot.versions, **{f"features/{name}": v for name, v in features.versions.items()}}


def record_training_set(lake: Lake, training_set: TrainingSet, *, split: SplitConfig, delay_seconds: float) -> None:
    """Enter a training set that is published; entering it again changes nothing."""
    settings = {
        "split": split.model_dump(),
        "delay_seconds": delay_seconds,
        "files": folder_files(Path(training_set.uri)),
    }
    bare = training_set.features.model_copy(update={"num_online": {}})
    reference = training_set.model_copy(update={"features": bare}).model_dump(mode="json")
    row = {
        "fingerprint": training_set.fingerprint,
        "as_of": training_set.features.snapshot.as_of,
        "training_set": json.dumps(reference),
        "settings": json.dumps(settings),
    }
    app_id = content_key(reference=reference | {"uri": ""}, settings=settings)
    lake.append_once(TABLE, pa.Table.from_pylist([row], SCHEMA), app_id=app_id)


def training_sets(lake: Lake) -> list[LedgerEntry]:
    """Return every training set that was built, by `as_of`."""
    version = lake.version(TABLE)
    rows = lake.read(TABLE, version=version).to_pylist() if version is not None else []
    rows.sort(key=lambda row: (row["as_of"], row["fingerprint"], row["training_set"]))
    return [_entry(row) for row in rows]


def find_training_set(lake: Lake, as_of: datetime, fingerprint: str = "") -> LedgerEntry:
    """Return the training set of a moment.

    Args:
        lake: where they were built.
        as_of: its snapshot's moment.
        fingerprint: how its fingerprint begins, when several were built at that moment.

    Raises:
        LakeError: none fits, or more than one.
    """
    entries = training_sets(lake)
    fitting = [e for e in entries if e.training_set.features.snapshot.as_of == as_of]
    fitting = [e for e in fitting if e.training_set.fingerprint.startswith(fingerprint)]
    distinct = {e.training_set.fingerprint: e for e in fitting}
    if len(distinct) == 1:
        return distinct.popitem()[1]
    if fitting:
        marks = ", ".join(mark[:MARK] for mark in distinct)
        raise LakeError(f"{len(distinct)} training sets are as of {as_of.isoformat()}; name one of them: {marks}")
    moments = dict.fromkeys(e.training_set.features.snapshot.as_of.isoformat() for e in entries)
    raise LakeError(
        f"no training set {fingerprint} as of {as_of.isoformat()} was built in {lake.root}; expected one of "
        f"{', '.join(moments) or 'none at all'}. Build a new one: `tandem take-snapshot --as-of`, and the steps after"
    )


def _entry(row: dict[str, Any]) -> LedgerEntry:
    settings = json.loads(row["settings"])
    return LedgerEntry(
        training_set=TrainingSet.model_validate_json(row["training_set"]),
        split=SplitConfig(**settings["split"]),
        delay_seconds=settings["delay_seconds"],
        files=settings["files"],
    )
