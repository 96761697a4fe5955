"""Fetch a published archive once: checked against its known digest, unpacked, and renamed into place."""

import hashlib
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipelines.errors import IntegrityError, SourceError
from pipelines.stores.artifacts import LocalArtifacts

if TYPE_CHECKING:
    from http.client import HTTPResponse

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30.0


def fetch_archive(url: str, *, md5: str, downloads: Path, instead: str) -> Path:
    """Return the folder with an archive's files, downloading and unpacking it first if it is not there.

    Args:
        url: address of a zip file.
        md5: digest the publisher gives for it.
        downloads: folder that keeps unpacked archives; a killed download leaves nothing that is taken for one.
        instead: what a person without a network can do, for the message.

    Raises:
        SourceError: there is no network, the server refused, or the archive is not a zip file.
        IntegrityError: the bytes are not those of `md5`.
    """
    name = url.rsplit("/", 1)[-1]

    def write(folder: Path) -> None:
        archive = folder / name
        digest = _download(url, archive, instead)
        if digest != md5:
            raise IntegrityError(f"{url} has MD5 {digest}; expected {md5}. Try again later, or {instead}")
        _unpack(archive, folder)
        archive.unlink()

    return Path(LocalArtifacts(downloads).publish(Path(name).stem, write))


def _download(url: str, target: Path, instead: str) -> str:
    """Stream `url` to `target` with a progress bar and return the MD5 of its bytes."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, target.open("wb") as stream:  # noqa: S310 - fixed https address
            return _copy(response, stream, url)
    except urllib.error.HTTPError as error:
        raise SourceError(
            f"{url} answered {error.code} {error.reason}; expected the archive. Try later, or {instead}"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise SourceError(f"no network: could not fetch {url} ({reason}); {instead}") from error


def _copy(response: "HTTPResponse", stream: IO[bytes], url: str) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    digest = hashlib.md5(usedforsecurity=False)
    size = int(response.headers.get("Content-Length") or 0) or None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(url.rsplit("/", 1)[-1], total=size)
        while block := response.read(_BLOCK):
            stream.write(block)
            digest.update(block)
            progress.advance(task, len(block))
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Put the files of `archive` into `folder`, without the folder they are in inside the archive."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if not member.is_dir():
                    with packed.open(member) as source, (folder / Path(member.filename).name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{archive.name} is not a zip file ({error}); try again later") from error
