"""What was published last: one small file for each asset and dataset, so that a run started by hand has a start."""

import json
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError

Json = dict[str, Any]
_ANY = "published"


class Published:
    """References below `home/runs`, by asset and dataset.

    Args:
        home: the platform's home.
    """

    def __init__(self, home: Path) -> None:
        self._runs = home / "runs"

    def put(self, asset: str, references: Json, *, dataset: str, run: str) -> bool:
        """Keep references; returns whether they differ from those kept before.

        The answer to one `run` is always the same: a task that was killed after writing and is tried again must
        still say that there was something new.
        """
        path = self._path(asset, dataset)
        before = _read(path)
        if before is not None and before["run"] == run:
            return bool(before["changed"])
        changed = before is None or _essence(before["references"]) != _essence(references)
        kept = {"references": references, "run": run, "changed": changed}
        for target in (path, self._path(asset, None)):
            _write(target, kept)
        return changed

    def find(self, asset: str, dataset: str | None = None) -> Json | None:
        """Return the references of an asset published last, of `dataset` or of any; None if there are none."""
        kept = _read(self._path(asset, dataset))
        return None if kept is None else dict(kept["references"])

    def get(self, asset: str, dataset: str | None = None) -> Json:
        """Return the references of an asset published last, of `dataset` or of any.

        Raises:
            ConfigError: there are none.
        """
        references = self.find(asset, dataset)
        if references is None:
            whose = f"of dataset {dataset!r}" if dataset else "of any dataset"
            raise ConfigError(
                f"no {asset} {whose} were published yet; expected them from an earlier DAG. Trigger "
                "recommender_pipeline, or the DAG before this one, first"
            )
        return references

    def _path(self, asset: str, dataset: str | None) -> Path:
        return self._runs / (dataset or ".") / _ANY / f"{asset}.json"


def _essence(references: Json) -> Json:
    """Drop what a repeated run reports differently although nothing changed: how many rows it added."""
    return {k: _essence(v) if isinstance(v, dict) else v for k, v in references.items() if k != "num_appended"}


def _read(path: Path) -> Json | None:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def _write(path: Path, kept: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(kept, indent=2))
    scratch.replace(path)
