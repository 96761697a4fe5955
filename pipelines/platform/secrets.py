"""Secrets of the embedded profile: generated once, readable by their owner alone."""

import base64
import json
import os
import secrets
from pathlib import Path

USER = "admin"


def airflow_secrets(folder: Path) -> dict[str, str]:
    """Return the keys `fernet_key`, `jwt_secret` and `secret_key`, generated on the first call."""
    return _generated(
        folder / "secrets.json",
        {
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "secret_key": secrets.token_urlsafe(48),
        },
    )


def password_file(folder: Path) -> Path:
    """Where the interface's password is kept: a JSON object, user -> password."""
    return folder / "passwords.json"


def password(folder: Path) -> str:
    """Return the password of `USER`, generated on the first call."""
    return _generated(password_file(folder), {USER: secrets.token_urlsafe(12)})[USER]


def _generated(path: Path, fresh: dict[str, str]) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Created with its mode, so that it is at no moment readable by others; never overwritten.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
    with os.fdopen(descriptor, "w") as stream:
        json.dump(fresh, stream)
    return fresh
