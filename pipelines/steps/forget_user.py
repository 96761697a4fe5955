"""Step: forget a user, everywhere and for good, and say what was removed where."""

import json
import logging
import os
from datetime import datetime
from pathlib import Path

from pipelines.contracts import Forgetting, Removed
from pipelines.errors import ForgettingError
from pipelines.forgetting.needle import Needle
from pipelines.forgetting.report import MARK, write_page
from pipelines.forgetting.search import Stores, places, remainders
from pipelines.stores.artifacts import content_key
from pipelines.stores.base import ArtifactStore
from pipelines.stores.forgotten import ForgottenUsers

RESULT, PAGE = "report.json", "report.html"
_logger = logging.getLogger(__name__)


def forget_user(
    user_id: str, *, stores: Stores, forgotten: ForgottenUsers, artifacts: ArtifactStore, as_of: datetime
) -> Forgetting:
    """Remove a user from lake, runs, online features, logs and caches, older versions included.

    The user goes on the list of the forgotten first, so that nothing new is kept while the rest is removed. What a
    place has is noted before it is removed: killed anywhere and run again, the end and the report are the same. No
    other step may be running on the data set: it would write what it has read before.

    Afterwards no earlier version of a lake table that had the user can be read, and no training set of before be
    built again. Models cannot be changed: versions that know the user are named in the report.

    Args:
        user_id: whom.
        stores: where to look.
        forgotten: the list.
        artifacts: where the report is published.
        as_of: the present, UTC, for the list.

    Raises:
        ForgettingError: something is left that should not be; the message says where.
    """
    needle = Needle(user_id)
    digest = forgotten.add(stores.dataset, user_id, at=as_of)
    journal = _Journal(stores.home / "runs" / stores.dataset / "forget_user" / f".{digest[:MARK]}.json")
    removed = []
    for place in places(stores, needle):
        num = journal.note(place.name, place.count())
        if num:
            place.remove()
            removed.append(Removed(place=place.name, unit=place.unit, num=num))
            _logger.info("%s: %d %s removed", place.name, num, place.unit)
    left = [f"{place.name} ({num} {place.unit})" for place in places(stores, needle) if (num := place.count())]
    remains = remainders(stores, needle)
    left += [remainder.place for remainder in remains if not remainder.remedy]
    if left:
        raise ForgettingError(
            f"user {digest[:MARK]} is still in {', '.join(left)}; expected nowhere. Something wrote while the user was "
            "being forgotten: end what runs on this data set, then run `tandem forget-user` again"
        )
    for remainder in remains:
        _logger.warning("%s still has the user: %s", remainder.place, remainder.remedy)
    report = Forgetting(
        dataset=stores.dataset,
        user=digest,
        removed=tuple(removed),
        remains=tuple(remains),
        versions=stores.lake.versions(),
        uri="",
    )

    def write(folder: Path) -> None:
        (folder / RESULT).write_text(report.model_dump_json(indent=2))
        write_page(folder / PAGE, report)

    key = content_key(report=report.model_dump(mode="json"))
    uri = artifacts.publish(f"{stores.dataset}/forget_user/{key}", write)
    journal.close()
    return report.model_copy(update={"uri": uri})


class _Journal:
    """What each place had before anything was removed from it; kept until the report is published."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nums: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def note(self, place: str, num: int) -> int:
        """Return how much a place had: now, or when a run that was killed began with it."""
        if num > self._nums.get(place, 0):
            self._nums[place] = num
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._path.with_suffix(".tmp")
            with scratch.open("w") as file:
                file.write(json.dumps(self._nums))
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._path)
        return self._nums.get(place, 0)

    def close(self) -> None:
        """Delete it."""
        self._path.unlink(missing_ok=True)
