"""How a retriever is kept: settings as JSON, arrays in one npz file, no pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.config import Section

S = TypeVar("S", bound=Section)
SETTINGS_FILE = "settings.json"
ARRAYS_FILE = "arrays.npz"


def write_model(folder: Path, settings: Section, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `settings.json` and `arrays.npz` into `folder`, which is made; the arrays must not be of objects."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2))
    with (folder / ARRAYS_FILE).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_settings(folder: Path, kind: type[S]) -> S:
    """Read the settings that `write_model` wrote."""
    return kind.model_validate(json.loads((folder / SETTINGS_FILE).read_text()))


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays that `write_model` wrote."""
    with np.load(folder / ARRAYS_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def csr_arrays(name: str, matrix: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a scipy CSR matrix, under names that `csr_matrix` finds them by."""
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": np.array(matrix.shape)}
    return {f"{name}_{part}": array for part, array in parts.items()}


def csr_matrix(name: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the scipy CSR matrix of `csr_arrays`."""
    import scipy.sparse as sp

    cells: Any = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sp.csr_matrix(cells, shape=tuple(arrays[f"{name}_shape"]))
