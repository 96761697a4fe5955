"""Published folders: written aside, renamed once, addressed by what went into them."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import IntegrityError


def content_key(**parts: Any) -> str:
    """Return a short digest of JSON-serializable `parts`: equal inputs, equal key, on any machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_files(folder: Path) -> dict[str, str]:
    """Return relative POSIX path -> SHA-256 of every file below `folder`, in path order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in files}


def folder_digest(folder: Path) -> str:
    """Return one SHA-256 over the names and digests of all files below `folder`."""
    return hashlib.sha256(json.dumps(folder_files(folder)).encode()).hexdigest()


def check_folder(folder: Path, digest: str) -> None:
    """Raise IntegrityError unless `folder` has exactly the bytes of `digest`."""
    actual = folder_digest(folder)
    if actual != digest:
        raise IntegrityError(
            f"{folder} has digest {actual[:12]}; expected {digest[:12]}. It was changed or is incomplete: "
            "delete it and run the step again"
        )


class LocalArtifacts:
    """An ArtifactStore on a local or shared file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, key: str, write: Callable[[Path], None]) -> str:
        """Return the URI of folder `key`; fill and publish it first if it is not there.

        A killed writer leaves only a scratch folder, which no reader sees. When two writers race, the first
        rename wins and both return the same folder.
        """
        target = self._root / key
        if target.exists():
            return str(target)
        scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        try:
            write(scratch)
            _rename_into_place(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return str(target)

    def local(self, uri: str) -> Path:
        """Return the local path of a published folder."""
        return Path(uri)


def _rename_into_place(scratch: Path, target: Path) -> None:
    try:
        os.rename(scratch, target)
    except OSError:
        if not target.exists():
            raise
