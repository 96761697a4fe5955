"""Trains a small SASRec and dies by SIGKILL right after the checkpoint of the given number."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from pipelines.models import next_item_training
from tests.pipelines.models.test_next_item_training import fitted

folder, fatal = Path(sys.argv[1]), int(sys.argv[2])
write, written = next_item_training.write_checkpoint, 0


def write_and_die(*args: Any) -> None:
    global written
    write(*args)
    written += 1
    if written == fatal:
        os.kill(os.getpid(), signal.SIGKILL)


next_item_training.write_checkpoint = write_and_die
fitted(folder)
