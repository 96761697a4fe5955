"""Runs in memory: what `MlflowRuns` promises, for tests of steps."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.stores.base import RunRecord
from pipelines.stores.runs import RunMetrics


@dataclass
class MemoryRuns:
    """`artifacts` has a folder a run; `told` what its page shows; `records` what was written, `finished` what to it."""

    artifacts: dict[str, Path] = field(default_factory=dict)
    told: dict[str, RunMetrics] = field(default_factory=dict)
    records: dict[str, RunRecord] = field(default_factory=dict)
    finished: dict[str, RunRecord] = field(default_factory=dict)

    def read(self, run_id: str) -> RunMetrics:
        return self.told.get(run_id, RunMetrics({}, {}))

    def fetch_files(self, run_id: str, files: Sequence[str], folder: Path) -> bool:
        found = [self.artifacts.get(run_id, Path("/nothing")) / file for file in files]
        if not all(file.exists() for file in found):
            return False
        for file in found:
            shutil.copy(file, folder)
        return True

    def record(self, key: str, *, dataset: str, record: RunRecord) -> str:
        self.records.setdefault(key, record)
        return f"run-{key}"

    def begin(self, key: str, *, dataset: str, record: RunRecord) -> str:
        return self.record(key, dataset=dataset, record=record)

    def finish(self, run_id: str, record: RunRecord) -> None:
        self.finished[run_id] = record
