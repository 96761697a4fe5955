"""What a killed training goes on from: arrays and a few numbers in one file, replaced by one atomic act."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError

NAME = "training.npz"
STATE = "state"


def write_checkpoint(folder: Path, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Replace the checkpoint of `folder`; a reader sees the old one or the new one, never a part."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{NAME}.{os.getpid()}"
    with scratch.open("wb") as file:
        np.savez(file, **{STATE: np.array(json.dumps(state)), **arrays})  # type: ignore[arg-type]  # allow_pickle comes before
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(folder / NAME)


def arrays_digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return a short digest of the contents of arrays, in order: what a run was given, for `of`."""
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:16]


def read_checkpoint(folder: Path, *, of: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Return state and arrays, or None where there is no checkpoint.

    Args:
        folder: given to `write_checkpoint`.
        of: what the run is; the state must say the same under `of`.

    Raises:
        TrainingError: the checkpoint belongs to another run.
    """
    if not (folder / NAME).exists():
        return None
    with np.load(folder / NAME, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    state = json.loads(str(arrays.pop(STATE)))
    if state["of"] != of:
        raise TrainingError(
            f"{folder} holds a checkpoint of another run ({state['of'][:200]}); expected {of[:200]}. "
            "Name another folder, or remove it"
        )
    return state, arrays
