"""Protocols of the stores that steps see; the adapters beside this file implement them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipelines.contracts import ModelVersion


class ArtifactStore(Protocol):
    """Folders published by one atomic act, addressed by a key that depends only on their inputs."""

    def publish(self, key: str, write: Callable[[Path], None]) -> str:
        """Return the URI of folder `key`; if it is not there, let `write` fill a scratch folder and rename it."""

    def local(self, uri: str) -> Path:
        """Return a local path of a published folder."""


@dataclass(frozen=True)
class RunRecord:
    """What MLflow keeps of one training or build run.

    Attributes:
        name: run name a person reads.
        params: resolved configuration, flattened.
        metrics: final values.
        curves: metric -> value a step.
        tags: snapshot, lake versions, code revision, fingerprint, feature service.
        artifacts: extra files or folders to log, such as plots and reports: local path -> artifact path.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[Path, str] = field(default_factory=dict)


class ModelRegistry(Protocol):
    """Write side of the model registry."""

    def register(
        self, name: str, bundle: Path, *, key: str, dataset: str, record: RunRecord, onnx: str | None = None
    ) -> ModelVersion:
        """Register `bundle` as a new version of `name`, or return the version registered with the same `key`.

        `onnx` names the ONNX file in the bundle that carries the signature and input example, if there is one.
        """

    def find(self, name: str, *, key: str) -> ModelVersion | None:
        """Return the finished version of `name` that was registered with `key`."""

    def download(self, model: ModelVersion) -> Path:
        """Return a local folder with the version's bundle, its digest checked."""

    def newest(self, name: str, *, dataset: str, num_versions: int) -> list[ModelVersion]:
        """Return at most `num_versions` versions of `name` of a data set, newest first."""

    def read_file(self, model: ModelVersion, file: str) -> str:
        """Return one text file of a version's bundle, without the rest of it."""

    def list_versions(self, dataset: str) -> list[ModelVersion]:
        """Return every version of every model of a data set."""

    def fetch(self, model: ModelVersion, folder: Path) -> None:
        """Copy all that is kept of a version into `folder`: its bundle, and the files of its run."""

    def get(self, name: str, version: str) -> ModelVersion | None:
        """Return a version of `name`; None when there is no such version."""

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version behind an alias."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version and re-read it to be sure."""

    def clear_alias(self, name: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not set."""

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of `name` itself, not of its versions; none when there is no such model."""

    def set_tag(self, name: str, tag: str, value: str | None) -> None:
        """Set a tag of `name` itself; None removes it."""

    def log_metrics(self, model: ModelVersion, metrics: Mapping[str, float]) -> None:
        """Add metrics to the version's run and page."""

    def log_artifacts(self, model: ModelVersion, files: Mapping[Path, str]) -> None:
        """Add files or folders, such as a report, to the version's run: local path -> artifact path."""
