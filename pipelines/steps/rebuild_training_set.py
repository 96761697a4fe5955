"""Build a past training set once more, from the lake versions that it names."""

import shutil
import uuid
from datetime import datetime
from pathlib import Path

from pipelines.config import FeatureConfig
from pipelines.contracts import TrainingSet
from pipelines.data.lake import Lake
from pipelines.data.ledger import find_training_set
from pipelines.errors import ConfigError, IntegrityError
from pipelines.steps.build_training_set import RESULT, write_training_set
from pipelines.stores.artifacts import folder_files
from pipelines.stores.feature_store import FeatureStore


def rebuild_training_set(
    as_of: datetime,
    *,
    fingerprint: str = "",
    folder: Path,
    config: FeatureConfig,
    lake: Lake,
    store: FeatureStore,
    scratch: Path,
) -> TrainingSet:
    """Write into `folder` the files of the training set that was built as of a moment, byte for byte.

    Rows, columns and versions that came later play no part: the lake is read at the versions the training set names,
    and time divides it by the settings of then. Nothing is taken from the folder it was first written to.

    Args:
        as_of: its snapshot's moment.
        fingerprint: how its fingerprint begins, when several were built at that moment.
        folder: where to write; must not exist.
        config: DuckDB's memory and threads.
        lake: where the versions are.
        store: joins the features.
        scratch: folder to which DuckDB spills.

    Raises:
        LakeError: no such training set was built, or a version of it was vacuumed.
        ConfigError: `folder` exists.
        IntegrityError: what came out differs; the message says in what.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists; expected a folder to make. Choose another one, or delete it")
    entry = find_training_set(lake, as_of, fingerprint)
    for table, version in entry.versions.items():
        lake.require_files(table, version)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    partial.mkdir(parents=True)
    try:
        write_training_set(
            partial,
            entry.training_set.features,
            split=entry.split,
            delay_seconds=entry.delay_seconds,
            config=config,
            lake=lake,
            store=store,
            scratch=scratch,
        )
        _check(partial, entry.training_set, entry.files)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry.training_set.model_copy(update={"uri": str(folder)})


def _check(folder: Path, training_set: TrainingSet, files: dict[str, str]) -> None:
    """Compare what came out with what was written then: rows first, then every byte."""
    rebuilt = TrainingSet.model_validate_json((folder / RESULT).read_text())
    if rebuilt.fingerprint != training_set.fingerprint:
        raise IntegrityError(
            f"rows of the training set as of {training_set.features.snapshot.as_of.isoformat()} have fingerprint "
            f"{rebuilt.fingerprint[:12]}; expected {training_set.fingerprint[:12]}. The code that reads labels or "
            "joins features changed since: check out the revision of a model trained on it (tag tandem.code_revision)"
        )
    different = [name for name, digest in folder_files(folder).items() if files.get(name) != digest]
    if different:
        raise IntegrityError(
            f"{', '.join(different)} hold the same rows in other bytes; expected equal bytes. The library that writes "
            "Parquet changed since: install the locked environment of that time"
        )
