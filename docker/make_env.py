"""Write `.env` for docker-compose.yml: `.env.example` with a random value for every empty secret.

Run it once, in the clone: `python3 docker/make_env.py`. It needs nothing but Python and refuses to replace an
existing file, because the databases keep the passwords that they were created with.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def filled(example: str) -> str:
    """Return the text of `.env.example` with every `NAME=` that has no value given a random one.

    Values are hexadecimal, so that they are safe inside an address; Airflow's Fernet key has a form of its own.
    """
    return "".join(_filled_line(line) for line in example.splitlines(keepends=True))


def write(example: Path, target: Path) -> None:
    """Write `target` from `example`, readable by its owner only.

    Raises:
        FileExistsError: `target` is there already.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(filled(example.read_text()))


def _filled_line(line: str) -> str:
    name, equals, value = line.rstrip("\n").partition("=")
    if line.startswith("#") or not equals or value:
        return line
    key = (
        base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        if name.endswith("FERNET_KEY")
        else secrets.token_hex(24)
    )
    return f"{name}={key}\n"


if __name__ == "__main__":
    try:
        write(REPOSITORY / ".env.example", REPOSITORY / ".env")
    except FileExistsError:
        sys.exit(".env is there already; its passwords belong to the volumes. Delete both to start anew.")
    sys.stdout.write("wrote .env; next: docker compose up --build --wait\n")
