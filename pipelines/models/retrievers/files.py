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
_CSR_PARTS = ("data", "indices", "indptr", "shape")
_POINTERS = "_indptr"


def write_model(folder: Path, settings: Section, learned: Mapping[str, Any]) -> None:
    """Write `settings.json` and `arrays.npz` into `folder`, which is made.

    Args:
        folder: of the model.
        settings: the model's.
        learned: name -> array, not of objects, or scipy CSR matrix.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in learned.items():
        arrays |= {name: value} if isinstance(value, np.ndarray) else _csr_arrays(name, value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2))
    with (folder / ARRAYS_FILE).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_settings(folder: Path, kind: type[S]) -> S:
    """Read the settings that `write_model` wrote."""
    return kind.model_validate(json.loads((folder / SETTINGS_FILE).read_text()))


def read_learned(folder: Path) -> dict[str, Any]:
    """Read the arrays and the CSR matrices that `write_model` wrote, by name."""
    with np.load(folder / ARRAYS_FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    matrices = {name.removesuffix(_POINTERS) for name in arrays if name.endswith(_POINTERS)}
    of_matrices = {f"{name}_{part}" for name in matrices for part in _CSR_PARTS}
    dense = {name: array for name, array in arrays.items() if name not in of_matrices}
    return dense | {name: _csr_matrix(name, arrays) for name in matrices}


def _csr_arrays(name: str, matrix: Any) -> dict[str, NDArray[Any]]:
    return {f"{name}_{part}": np.asarray(getattr(matrix.tocsr(), part)) for part in _CSR_PARTS}


def _csr_matrix(name: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    import scipy.sparse as sp

    data, indices, pointers, shape = (arrays[f"{name}_{part}"] for part in _CSR_PARTS)
    return sp.csr_matrix((data, indices, pointers), shape=tuple(shape))
