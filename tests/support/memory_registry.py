"""A ModelRegistry in memory and on a folder, with the promises of the real one."""

import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Self

from pipelines.contracts import ModelVersion
from pipelines.errors import RegistryError
from pipelines.stores.artifacts import check_folder, folder_digest
from pipelines.stores.base import RunRecord


class MemoryRegistry:
    """Versions are folders below `root`; set `down` to make every call fail as if the server were gone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions: dict[tuple[str, str], ModelVersion] = {}
        self.keys: dict[tuple[str, str], ModelVersion] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.model_tags: dict[str, dict[str, str]] = {}
        self.records: dict[tuple[str, str], RunRecord] = {}
        self.logged: dict[tuple[str, str], dict[str, float]] = {}
        self.files: dict[tuple[str, str], dict[str, Path]] = {}
        self.moves: list[str | None] = []
        self.down = False

    def copy(self, root: Path) -> Self:
        """A registry of the same versions, with files of its own below `root`."""
        shutil.copytree(self.root, root)
        copied = deepcopy(self)
        copied.root = root
        return copied

    def register(
        self, name: str, bundle: Path, *, key: str, dataset: str, record: RunRecord, onnx: str | None = None
    ) -> ModelVersion:
        if (found := self.find(name, key=key)) is not None:
            return found
        version = str(1 + sum(known == name for known, _ in self.versions))
        shutil.copytree(bundle, self.root / name / version)
        model = ModelVersion(
            name=name,
            version=version,
            run_id=f"run-{name}-{version}",
            dataset=dataset,
            digest=folder_digest(bundle),
            metrics=dict(record.metrics),
        )
        self.versions[name, version] = self.keys[name, key] = model
        self.records[name, version] = record
        return model

    def find(self, name: str, *, key: str) -> ModelVersion | None:
        self._check()
        return self.keys.get((name, key))

    def download(self, model: ModelVersion) -> Path:
        self._check()
        folder = self.root / model.name / model.version
        check_folder(folder, model.digest)
        return folder

    def newest(self, name: str, *, dataset: str, num_versions: int) -> list[ModelVersion]:
        self._check()
        found = [model for (known, _), model in self.versions.items() if known == name and model.dataset == dataset]
        return sorted(found, key=lambda model: -int(model.version))[:num_versions]

    def read_file(self, model: ModelVersion, file: str) -> str:
        return (self.download(model) / file).read_text()

    def list_versions(self, dataset: str) -> list[ModelVersion]:
        self._check()
        return [model for model in self.versions.values() if model.dataset == dataset]

    def fetch(self, model: ModelVersion, folder: Path) -> None:
        self._check()
        shutil.copytree(self.root / model.name / model.version, folder, dirs_exist_ok=True)

    def get(self, name: str, version: str) -> ModelVersion | None:
        self._check()
        return self.versions.get((name, version))

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        self._check()
        version = self.aliases.get((name, alias))
        return None if version is None else self.versions[name, version]

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._check()
        self.aliases[name, alias] = version
        self.moves.append(version)

    def clear_alias(self, name: str, alias: str) -> None:
        self._check()
        self.aliases.pop((name, alias), None)
        self.moves.append(None)

    def tags(self, name: str) -> dict[str, str]:
        self._check()
        return dict(self.model_tags.get(name, {}))

    def set_tag(self, name: str, tag: str, value: str | None) -> None:
        self._check()
        tags = self.model_tags.setdefault(name, {})
        tags.pop(tag, None)
        if value is not None:
            tags[tag] = value

    def log_metrics(self, model: ModelVersion, metrics: Mapping[str, float]) -> None:
        self._check()
        self.logged.setdefault((model.name, model.version), {}).update(metrics)

    def log_artifacts(self, model: ModelVersion, files: Mapping[Path, str]) -> None:
        self._check()
        self.files.setdefault((model.name, model.version), {}).update({name: path for path, name in files.items()})

    def _check(self) -> None:
        if self.down:
            raise RegistryError("could not read at memory://: connection refused")
