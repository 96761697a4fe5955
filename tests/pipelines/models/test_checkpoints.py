from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.checkpoints import NAME, read_checkpoint, write_checkpoint


def test_what_is_written_is_read(tmp_path: Path):
    for epoch in (1, 2):
        write_checkpoint(tmp_path / "deep", {"of": "a run", "epoch": epoch}, {"x": np.arange(epoch)})
    state, arrays = read_checkpoint(tmp_path / "deep", of="a run") or ({}, {})
    assert state == {"of": "a run", "epoch": 2}
    assert {name: value.tolist() for name, value in arrays.items()} == {"x": [0, 1]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [NAME]


def test_nothing_written_is_none(tmp_path: Path):
    assert read_checkpoint(tmp_path, of="a run") is None


def test_another_run_is_refused(tmp_path: Path):
    write_checkpoint(tmp_path, {"of": "a run"}, {})
    with pytest.raises(TrainingError, match="another run"):
        read_checkpoint(tmp_path, of="a different run")
