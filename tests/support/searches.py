"""A search on tiny rows, and workers of it that are processes of their own and can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.config import REPOSITORY, Config, RetrievalConfig, SearchConfig
from pipelines.contracts import Search, SearchResult
from pipelines.search.storage import open_storage
from pipelines.steps.plan_search import plan_search
from pipelines.steps.report_search import report_search
from pipelines.steps.run_trials import run_trials
from pipelines.stores.artifacts import LocalArtifacts
from tests.support.memory_runs import MemoryRuns
from tests.support.model_refs import training_set

L2 = "retrieval.settings.l2"
SPACE: dict[str, Any] = {L2: "log:1.0..1000.0", "retrieval.settings.history_decay": "0.5..1.0"}
GRID: dict[str, Any] = {L2: [1.0, 10.0, 100.0], "retrieval.settings.history_decay": [0.5, 1.0]}


class Searching:
    """The steps of a search, with everything below one folder.

    Attributes:
        folder: has the training set in `set`, published folders in `runs`, and the storage in `search`.
        runs: what MLflow would keep.
    """

    def __init__(self, folder: Path, *, runs: Any = None) -> None:
        self.folder = folder
        self.runs: Any = runs or MemoryRuns()
        self.storage = open_storage("sqlite", folder / "search")

    def plan(
        self, num_trials: int = 3, *, space: Mapping[str, Any] | None = SPACE, study: str | None = None,
        limits: SearchConfig | None = None, **config: Any,
    ) -> Search:  # fmt: skip
        """Begin a search of EASE's settings, unless `config` has another model."""
        return plan_search(
            training_set(self.folder / "set"),
            config=RetrievalConfig(**{"model": "ease", **config}),
            limits=limits or SearchConfig(),
            seed=7,
            num_trials=num_trials,
            study=study,
            space=space,
            runs=self.runs,
            **self._stores,
        )

    def run(self, search: Search) -> int:
        """Work on it."""
        where = {"artifacts": LocalArtifacts(self.folder / "runs"), "checkpoints": self.folder / "checkpoints"}
        return run_trials(search, runs=self.runs, **where, **self._stores)

    def report(self, search: Search, **config: Any) -> SearchResult:
        """Report it."""
        artifacts = LocalArtifacts(self.folder / "runs")
        return report_search(search, config=Config(**config), artifacts=artifacts, runs=self.runs, **self._stores)

    @property
    def _stores(self) -> dict[str, Any]:
        return {"storage": self.storage, "folder": self.folder / "search"}


def start_worker(folder: Path, search: Search, *, killed_at: str = "", call: int = 1) -> subprocess.Popen[bytes]:
    """Start a worker; with `killed_at`, such as `module:Class.method`, it dies at the n-th call of that."""
    arguments = [str(folder), search.model_dump_json(), killed_at, str(call)]
    command = [sys.executable, "-W", "ignore", "-m", __name__, *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


def main(folder: str, search: str, killed_at: str, call: str) -> None:
    """Work on a search, and die on the way."""
    if killed_at:
        module, _, name = killed_at.partition(":")
        _kill_at(import_module(module), name, int(call))
    Searching(Path(folder)).run(Search.model_validate_json(search))


def _kill_at(owner: Any, name: str, left: int) -> None:
    *places, name = name.split(".")
    for place in places:
        owner = getattr(owner, place)
    called = getattr(owner, name)

    def call_or_die(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*args, **kwargs)

    setattr(owner, name, call_or_die)


if __name__ == "__main__":
    main(*sys.argv[1:])
