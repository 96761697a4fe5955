"""Where searches are kept: a file below home, or the database of the services profile; and who may write."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import ConfigError, PlatformError

DATABASE_VARIABLE = "SEARCH_DATABASE"
SECONDS_TO_WAIT = 60  # for another process that writes to the file

Place = Literal["sqlite", "postgres"]


def open_storage(place: Place, folder: Path) -> Any:
    """Return Optuna's storage; its tables are created if need be.

    Args:
        place: `sqlite`, a file in `folder`, or `postgres` at the address in the environment variable
            `SEARCH_DATABASE`.
        folder: of all searches; the processes of one search share it.

    Raises:
        ConfigError: `postgres` without its address.
        PlatformError: the database does not answer.
    """
    import optuna
    from sqlalchemy.exc import OperationalError

    address = _address(place, folder)
    options = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if place == "sqlite" else {"pool_pre_ping": True}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with alone(folder / ".storage.lock"):  # two that create the tables at once get in each other's way
            return optuna.storages.RDBStorage(address, engine_kwargs=options)
    except OperationalError as error:
        raise PlatformError(
            f"the {place} database of searches does not answer: {str(error.orig).splitlines()[0]}. Check that it "
            f"runs, and that {DATABASE_VARIABLE} is its address"
        ) from error


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold `file`; others wait. The operating system lets go of it when the process dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def is_held(file: Path) -> bool:
    """Return whether a living process holds `file`."""
    try:
        with file.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _address(place: Place, folder: Path) -> str:
    if place == "sqlite":
        return f"sqlite:///{folder / 'studies.db'}"
    address = os.environ.get(DATABASE_VARIABLE)
    if not address:
        raise ConfigError(
            f"searches are kept in PostgreSQL, but {DATABASE_VARIABLE} is not set; expected an address such as "
            "postgresql+psycopg://user:password@host:5432/search in the environment"
        )
    return address
