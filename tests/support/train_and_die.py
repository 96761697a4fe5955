"""Runs `fitted` of a test module and dies by SIGKILL right after the checkpoint of the given number."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import REPOSITORY
from pipelines.models import training


class Stopped(BaseException):
    """Stands for a kill in the same process."""


def train_and_die(module: str, folder: Path, *, checkpoint: int) -> None:
    """Call `module.fitted(folder)` in a process that is killed after so many checkpoints."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, module, str(folder), str(checkpoint)]
    died = subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, check=False)
    assert died.returncode == -signal.SIGKILL


@contextmanager
def stopped_after(checkpoint: int) -> Iterator[None]:
    """Stop what trains inside right after the checkpoint of this number, in this process."""
    write, written = training.write_checkpoint, []

    def write_and_stop(*args: Any) -> None:
        write(*args)
        written.append(args)
        if len(written) == checkpoint:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_checkpoint", write_and_stop)
        with pytest.raises(Stopped):
            yield


def main(module: str, folder: str, fatal: str) -> None:
    """Train, and die on the way."""
    tests, write, left = import_module(module), training.write_checkpoint, int(fatal)

    def write_and_die(*args: Any) -> None:
        nonlocal left
        write(*args)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    training.write_checkpoint = write_and_die
    tests.fitted(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
