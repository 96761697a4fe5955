"""A training that is published whole: resumed from its checkpoints where it was killed, and its cost measured."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from pipelines.models.costs import CostMeter
from pipelines.stores.base import ArtifactStore

RUN_FILE = "run.json"


def publish_training(
    name: str,
    train: Callable[[Path, Path | None], None],
    *,
    key: str,
    artifacts: ArtifactStore,
    checkpoints: Path | None,
) -> Path:
    """Return the local path of a training's published folder; train first if it is not there.

    Args:
        name: of the folder, before its key.
        train: writes all files, given their folder and that of its checkpoints; `run.json` must hold `metrics`, to
            which the cost is added.
        key: digest of everything that goes into the training. It names the folder of the checkpoints, too, so that a
            run of equal arguments finds them; they go when the training is published.
        artifacts: where to publish.
        checkpoints: folder for checkpoints of all trainings; None keeps none.
    """
    kept = checkpoints / key if checkpoints else None

    def write(folder: Path) -> None:
        with CostMeter(kept) as meter:
            train(folder, kept)
        report = json.loads((folder / RUN_FILE).read_text())
        report["metrics"] |= meter.total()
        (folder / RUN_FILE).write_text(json.dumps(report, indent=2))

    uri = artifacts.publish(f"{name}/{key}", write)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    return artifacts.local(uri)
