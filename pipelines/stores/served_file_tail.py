"""Following the files of served records that other processes append to."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.contracts import INGESTED_AT
from pipelines.stores.served import UNREADABLE, Named
from pipelines.stores.served_lines import OPEN, SUFFIXES, parse_line


class FileTail:
    """Follows all files below a folder by how far each was read; renaming a file does not read it again."""

    def __init__(self, folder: Path, *, own: str = "", only: str = "*") -> None:
        """Follow the logs named `only`; when polling, without the files of the writer `own`, who has those records."""
        self._folder = folder
        self._own = own
        self._only = only
        self._offsets: dict[tuple[str, str], int] = {}
        self._ended: set[tuple[str, str]] = set()

    def recent(self, limit: int) -> list[Named]:
        """Return up to `limit` of the newest records, oldest first."""
        newest: list[list[Named]] = []
        for path in sorted(self._paths(), key=lambda path: path.name, reverse=True):
            found = self._new(path)
            if limit > 0 and found:
                newest.append(found[-limit:])
                limit -= len(newest[-1])
        return [named for records in reversed(newest) for named in records]

    def poll(self) -> list[Named]:
        """Return what was appended since, in order of `ingested_at`."""
        paths = list(self._paths())
        there = {_key(path) for path in paths}
        self._ended &= there
        self._offsets = {key: offset for key, offset in self._offsets.items() if key in there}
        others = (path for path in paths if not path.stem.endswith(self._own) or not self._own)
        found = [named for path in others for named in self._new(path)]
        return sorted(found, key=lambda named: str(named[1].get(INGESTED_AT) or ""))

    def _paths(self) -> Iterator[Path]:
        for suffix in SUFFIXES:
            yield from self._folder.glob(f"{self._only}/*{suffix}")

    def _new(self, path: Path) -> list[Named]:
        key = _key(path)
        if key in self._ended:
            return []
        offset = self._offsets.get(key, 0)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return []  # renamed or deleted meanwhile; the next look finds it under its new name
        whole = content[: content.rfind(b"\n") + 1]
        self._offsets[key] = offset + len(whole)
        if path.suffix != OPEN:
            self._ended.add(key)
        records = (parse_line(line) for line in whole.splitlines() if line.strip())
        return [(path.parent.name, record) for record in records if UNREADABLE not in record]


def _key(path: Path) -> tuple[str, str]:
    return path.parent.name, path.stem
