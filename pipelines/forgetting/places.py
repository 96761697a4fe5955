"""Where a user can be: each place counts what it has of one, and removes it. Removing twice changes nothing."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.contracts import USER_ID
from pipelines.forgetting.files import blank, files_below, holds, spans_in
from pipelines.forgetting.needle import Needle
from pipelines.stores import audited_times
from pipelines.stores.materialization import column_store
from pipelines.stores.served import UNASSIGNED, UNREADABLE, Record, ServedLog

KEYED = re.compile(r"\.?[0-9a-f]{16}(\.[0-9a-f]{8})?")
"""Name of a folder that a step published, or of the scratch one it was to become."""
DOOMED = ".forgetting"
TOLD = ("config", "published")
"""What steps were told, and what they handed on: settings and references, nothing of users."""


class Place(Protocol):
    """Somewhere that a user can be."""

    @property
    def name(self) -> str:
        """Where it is."""

    @property
    def unit(self) -> str:
        """What is counted."""

    def count(self) -> int:
        """Return how much there is of the user."""

    def remove(self) -> None:
        """Remove all of it."""


@dataclass(frozen=True)
class RunFolders:
    """What steps published: whole folders, because the digest of one stands for all its bytes; they can be recomputed.

    Attributes:
        folder: of the data set, below `runs`.
        needle: whom to look for.
    """

    folder: Path
    needle: Needle
    name: str = "runs"
    unit: str = "folders"

    def count(self) -> int:
        """Return how many folders hold the user in any file."""
        return len(self._found())

    def remove(self) -> None:
        """Delete them, each by a rename first: half a folder must not pass for a published one."""
        for path in self._found():
            doomed = path
            if path.suffix != DOOMED:
                doomed = path.with_name(f".{path.name.lstrip('.')}{DOOMED}")
                shutil.rmtree(doomed, ignore_errors=True)
                path.rename(doomed)
            shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()

    def _found(self) -> list[Path]:
        found: dict[Path, None] = {}
        for file in files_below(self.folder):
            unit = published_folder(file, self.folder)
            if unit not in found and file.relative_to(self.folder).parts[0] not in TOLD and holds(file, self.needle):
                found[unit] = None
        return list(found)


def published_folder(file: Path, root: Path) -> Path:
    """Return the published folder below `root` that a file is in; the file itself if it is in none."""
    parts = file.relative_to(root).parts
    depth = next((n for n, part in enumerate(parts[:-1], 1) if KEYED.fullmatch(part) or part[:1] == "."), len(parts))
    return root.joinpath(*parts[:depth])


@dataclass(frozen=True)
class OnlineFeatures:
    """The online store.

    Attributes:
        store: a `FeatureStore`, or what has its `user_views`.
        needle: whom to look for.
    """

    store: Any
    needle: Needle
    name: str = "online features"
    unit: str = "values"

    def count(self) -> int:
        """Return how many values there are, of all views of users."""
        online, config, views = self.store.user_views()
        return column_store(online).count_entity(config, views, self.needle.key) if views else 0

    def remove(self) -> None:
        """Delete them, and what the store's files and logs still have of them."""
        online, config, views = self.store.user_views()
        column_store(online).erase_entity(config, views, self.needle.key)


@dataclass(frozen=True)
class AuditedEventTimes:
    """What audits of the online store keep: the event time of every entity.

    Attributes:
        folder: of the data set.
        needle: whom to look for.
    """

    folder: Path
    needle: Needle
    name: str = "event times of audits"
    unit: str = "files"

    def count(self) -> int:
        """Return how many files hold the user."""
        return sum(holds(file, self.needle) for file in files_below(self.folder))

    def remove(self) -> None:
        """Write them anew without the user."""
        audited_times.erase_entity(self.folder, self.needle.key)


@dataclass(frozen=True)
class ServedRecords:
    """A log of serving: events, or the features that answers were made from.

    Attributes:
        log: where they are.
        dataset: whose; events that came before serving knew a data set count, too.
        needle: whom to look for.
        name: which log.
    """

    log: ServedLog
    dataset: str
    needle: Needle
    name: str
    unit: str = "records"

    def count(self) -> int:
        """Return how many records are of the user."""
        return sum(self.log.count(name, self._belongs) for name in self._names())

    def remove(self) -> None:
        """Remove them; batches that are claimed stay claimed."""
        for name in self._names():
            self.log.erase(name, self._belongs)

    def _names(self) -> Sequence[str]:
        return [name for name in self.log.names() if name in (self.dataset, UNASSIGNED)]

    def _belongs(self, record: Record) -> bool:
        text = str(record.get(UNREADABLE, ""))
        return record.get(USER_ID) == self.needle.user_id or bool(text and self.needle.within(text.encode()))


@dataclass(frozen=True)
class LogFiles:
    """What processes and tasks print.

    Attributes:
        folders: where they do.
        needle: whom to look for.
    """

    folders: Sequence[Path]
    needle: Needle
    name: str = "logs of processes and tasks"
    unit: str = "mentions"

    def count(self) -> int:
        """Return how often the id stands there."""
        return sum(len(spans_in(path, self.needle)) for path in self._paths())

    def remove(self) -> None:
        """Overwrite it with dashes."""
        for path in self._paths():
            if spans_in(path, self.needle):
                blank(path, self.needle)

    def _paths(self) -> list[Path]:
        return [path for folder in self.folders for path in files_below(folder) if path.suffix == ".log"]


@dataclass(frozen=True)
class CachedModels:
    """Bundles that were downloaded from the registry and can be again.

    Attributes:
        folder: the registry's cache.
        needle: whom to look for.
    """

    folder: Path
    needle: Needle
    name: str = "cache of model versions"
    unit: str = "bundles"

    def count(self) -> int:
        """Return how many bundles know the user."""
        return len(self._found())

    def remove(self) -> None:
        """Delete them."""
        for path in self._found():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _found(self) -> list[Path]:
        files = (file for file in files_below(self.folder) if holds(file, self.needle))
        return list(dict.fromkeys(published_folder(file, self.folder) for file in files))
