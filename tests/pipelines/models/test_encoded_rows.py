import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import TrainingError
from pipelines.models.encoded_rows import EncodedRows, row_type

SHAPES = {"user": ((), "int32"), "history": ((3,), "int32"), "numbers": ((2,), "float32")}


def part(num_rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(9, size=(num_rows, *shape)).astype(dtype) for name, (shape, dtype) in SHAPES.items()}


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_are_the_parts_one_after_the_other(on_disk: bool, tmp_path: Path):
    rows, given = EncodedRows(SHAPES, 7, tmp_path if on_disk else None), [part(4, 0), part(3, 1)]
    for one in given:
        rows.append(one)
    for name, values in rows.arrays.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name] for one in given]))
        assert values.dtype == SHAPES[name][1]
        assert type(values) is np.ndarray


def test_inputs_of_a_row_on_disk_lie_together_in_a_file_without_a_name(tmp_path: Path):
    rows = EncodedRows(SHAPES, 5, tmp_path)
    assert {values.strides[0] for values in rows.arrays.values()} == {row_type(SHAPES).itemsize} == {24}
    assert list(tmp_path.iterdir()) == []
    mapped = Path("/proc/self/maps").read_text()
    assert f"{tmp_path}/" in mapped


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"no room for 120 bytes of encoded labels \(No space left on device\)"):
        EncodedRows(SHAPES, 5, tmp_path)
