import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipelines.config import SourceConfig
from pipelines.errors import IntegrityError, SourceError
from pipelines.sources import movielens
from pipelines.sources.movielens import open_movielens

CONFIG = SourceConfig(kind="movielens", size="1m")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server over an empty folder: its address, and the folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def archive(site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny ml-1m.zip on the site, its digest known."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        target.writestr("ml-1m/", "")
        target.writestr("ml-1m/ratings.dat", "1::10::5::978300760\n")
        target.writestr("ml-1m/movies.dat", "10::A (1990)::Drama\n")
        target.writestr("ml-1m/users.dat", "1::F::1::10::48067\n")
    file = site[1] / "ml-1m.zip"
    file.write_bytes(packed.getvalue())
    monkeypatch.setitem(movielens.ARCHIVE_MD5, "1m", hashlib.md5(packed.getvalue()).hexdigest())
    return file


def test_an_archive_is_fetched_checked_and_unpacked_once(
    site: tuple[str, Path], archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    source = open_movielens(CONFIG, home=home, base_url=site[0])
    assert source.folder == home / "downloads" / "ml-1m"
    assert source.read("all").events.read_all().num_rows == 1
    assert "ml-1m.zip" in capfd.readouterr().err, "a progress bar is shown"
    archive.unlink()
    assert open_movielens(CONFIG, home=home, base_url=site[0]).folder == source.folder
    assert [path.name for path in (home / "downloads").iterdir()] == ["ml-1m"]


def test_other_bytes_than_published_are_refused_and_not_kept(
    site: tuple[str, Path], archive: Path, tmp_path: Path
) -> None:
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match=r"has MD5 \w{32}; expected \w{32}.*DATA=<folder>"):
        open_movielens(CONFIG, home=tmp_path, base_url=site[0])
    assert list((tmp_path / "downloads").iterdir()) == []


def test_without_a_network_one_plain_line_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_movielens(CONFIG, home=tmp_path, base_url="http://127.0.0.1:9")
    message = str(caught.value)
    assert message.startswith("no network: could not fetch http://127.0.0.1:9/ml-1m.zip")
    assert "DATA=<folder>" in message
    assert "\n" not in message
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_server_that_refuses_is_quoted(site: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="answered 404"):
        open_movielens(CONFIG, home=tmp_path, base_url=site[0])


def test_something_that_is_no_archive_is_refused(
    site: tuple[str, Path], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes(b"<html>moved</html>")
    monkeypatch.setitem(movielens.ARCHIVE_MD5, "1m", hashlib.md5(b"<html>moved</html>").hexdigest())
    with pytest.raises(SourceError, match="is not a zip file"):
        open_movielens(CONFIG, home=tmp_path, base_url=site[0])


def test_digests_are_those_grouplens_publishes() -> None:
    assert movielens.ARCHIVE_MD5["1m"] == "c4d9eecfca2ab87c1945afe126590906"
    assert set(movielens.ARCHIVE_MD5) == {"100k", "1m", "20m", "32m"}
