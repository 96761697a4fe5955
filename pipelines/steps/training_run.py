"""A training that is published whole: resumed from its checkpoints where it was killed, and its cost measured."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from pipelines.config import TrainingConfig
from pipelines.contracts import ModelVersion
from pipelines.models.costs import CostMeter
from pipelines.models.devices import devices
from pipelines.stores.base import ArtifactStore, ModelRegistry

RUN_FILE = "run.json"
_logger = logging.getLogger(__name__)


def found_version(registry: ModelRegistry, name: str, *, key: str, run: TrainingConfig) -> ModelVersion | None:
    """Return the version that was trained by equal arguments, and say so; None where there is none.

    Raises:
        ConfigError: there are not as many devices as the run asks for, whether or not it would need them.
    """
    if run.num_devices > 1 or run.device == "gpu":
        devices(run.device, run.num_devices)
    found = registry.find(name, key=key)
    if found is not None:
        _logger.warning(
            "%s version %s is there already: equal data, settings, seed, precision and code. It is not trained again; "
            "device, number of devices and training.resident_mb make no other version",
            name,
            found.version,
        )
    return found


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
