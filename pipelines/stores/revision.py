"""Which code is running."""

import hashlib
import os
import subprocess
from functools import lru_cache

from pipelines.config import REPOSITORY

VARIABLE = "TANDEM_CODE_REVISION"


@lru_cache
def code_revision() -> str:
    """Return `TANDEM_CODE_REVISION`, as an image sets it, else what git says of the checkout, else `unknown`."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - constant
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def code_digest(*parts: str) -> str:
    """Return a digest of Python files of `pipelines`, or of all below its folders: other code, other results."""
    digest = hashlib.sha256()
    for part in parts:
        path = REPOSITORY / "pipelines" / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.relative_to(REPOSITORY).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
