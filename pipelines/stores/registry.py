"""The model registry in MLflow: versions that are there whole or not at all.

A version is one logged model folder in MLflow's artifact store: our `bundle/` and, when it has an ONNX graph, MLflow's
own files (MLmodel, signature, input example) beside it. The version itself is created last, with its key and digest
as tags in the same call, so a killed writer leaves a run without a version, which the next try removes.

Reading (`by_alias`, `find`, `download`) needs mlflow-skinny only.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipelines.contracts import ModelVersion
from pipelines.errors import IntegrityError, RegistryError
from pipelines.stores.artifacts import check_folder, folder_digest
from pipelines.stores.base import RunRecord
from pipelines.stores.mlflow_errors import explained
from pipelines.stores.revision import code_revision

KEY_TAG = "tandem.key"
DIGEST_TAG = "tandem.digest"
DATASET_TAG = "tandem.dataset"
REVISION_TAG = "tandem.code_revision"
MODEL_TAG = "tandem.model"
BUNDLE = "bundle"
CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own default retries a dead server for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to the command line's answer
}


class MlflowRegistry:
    """A ModelRegistry on an MLflow tracking server.

    Args:
        uri: the tracking server's address.
        cache: folder for downloaded bundles, by name and digest.
    """

    def __init__(self, uri: str, cache: Path) -> None:
        prepare_client()
        from mlflow import MlflowClient

        self._uri = uri
        self._cache = cache
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def register(
        self, name: str, bundle: Path, *, key: str, dataset: str, record: RunRecord, onnx: str | None = None
    ) -> ModelVersion:
        """Register `bundle` as a new version of `name`, or return the version registered with the same `key`.

        Args:
            name: registered model.
            bundle: folder, stored byte for byte.
            key: digest of everything that went into the bundle.
            dataset: namespace; runs go to the experiment `tandem/<dataset>`.
            record: what the run's page shows.
            onnx: ONNX file in the bundle that gives signature and input example; None for none. An
                `input_example.npz` beside it is the example.

        Raises:
            RegistryError: the server cannot be reached or refuses.
        """
        from pipelines.stores import mlflow_logging as logging

        with self._explained(f"register a version of {name!r}"):
            found = self.find(name, key=key)
            if found is not None:
                return found
            experiment_id = logging.experiment(self._client, f"tandem/{dataset}")
            finished = {version.run_id for version in self._versions(name, key)}
            logging.remove_unfinished(self._client, experiment_id, {MODEL_TAG: name, KEY_TAG: key}, keep=finished)
            tags = {**record.tags, KEY_TAG: key, DIGEST_TAG: folder_digest(bundle), DATASET_TAG: dataset}
            tags[REVISION_TAG] = code_revision()
            run_id = logging.start_run(self._client, experiment_id, record, {**tags, MODEL_TAG: name})
            with tempfile.TemporaryDirectory() as scratch:
                folder = logging.model_folder(Path(scratch) / "model", bundle, onnx)
                model_id = logging.log_model(self._client, experiment_id, run_id, name, folder, record)
            self._client.set_terminated(run_id)
            logging.ensure_registered_model(self._client, name)
            source = f"models:/{model_id}"
            self._client.create_model_version(
                name, source=source, run_id=run_id, model_id=model_id, tags=tags, await_creation_for=0
            )
            return self._only_version(name, key)

    def find(self, name: str, *, key: str) -> ModelVersion | None:
        """Return the finished version of `name` that was registered with `key`."""
        with self._explained(f"look for a version of {name!r}"):
            versions = self._versions(name, key)
            return self._to_contract(versions[0]) if versions else None

    def download(self, model: ModelVersion) -> Path:
        """Return a local folder with the version's bundle, its digest checked.

        A bundle that is in the cache is served from there, without the server.

        Raises:
            RegistryError: the server cannot be reached or has no such version.
            IntegrityError: the bytes are not those that were registered.
        """
        target = self._cached(model)
        if target.exists():
            try:
                check_folder(target, model.digest)
                return target
            except IntegrityError:
                shutil.rmtree(target)  # a damaged cache heals itself; the registry has the original
        scratch = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        try:
            self._fetch(model, scratch)
            check_folder(scratch / BUNDLE, model.digest)
            os.rename(scratch / BUNDLE, target)
        except OSError:
            if not target.exists():  # else another process was first, with the same bytes
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target

    def newest(self, name: str, *, dataset: str, num_versions: int) -> list[ModelVersion]:
        """Return at most `num_versions` versions of `name` of a data set, newest first."""
        with self._explained(f"list versions of {name!r}"):
            found = self._client.search_model_versions(f"name = '{name}' and tags.`{DATASET_TAG}` = '{dataset}'")
            newest = sorted(found, key=lambda version: -int(version.version))[:num_versions]
            return [self._to_contract(version) for version in newest]

    def read_file(self, model: ModelVersion, file: str) -> str:
        """Return one text file of a version's bundle, without the rest of it; its digest is not checked.

        Raises:
            RegistryError: the server cannot be reached, or the bundle has no such file.
        """
        cached = self._cached(model) / file
        if cached.exists():
            return cached.read_text()
        with tempfile.TemporaryDirectory() as scratch:
            self._fetch(model, Path(scratch), file)
            return (Path(scratch) / Path(file).name).read_text()

    def list_versions(self, dataset: str) -> list[ModelVersion]:
        """Return every version of every model of a data set."""
        with self._explained(f"list the model versions of {dataset!r}"):
            found = self._client.search_model_versions(f"tags.`{DATASET_TAG}` = '{dataset}'", max_results=10_000)
            ordered = sorted(found, key=lambda version: (version.name, int(version.version)))
            return [self._to_contract(version) for version in ordered]

    def fetch(self, model: ModelVersion, folder: Path) -> None:
        """Copy all that is kept of a version into `folder`: its bundle, and the files of its run."""
        from mlflow.artifacts import download_artifacts

        self._fetch(model, folder)
        with self._explained(f"download the files of {model.name!r} version {model.version}"):
            where = f"runs:/{model.run_id}/"
            if self._client.list_artifacts(model.run_id):
                download_artifacts(artifact_uri=where, dst_path=str(folder), tracking_uri=self._uri)

    def get(self, name: str, version: str) -> ModelVersion | None:
        """Return a version of `name`, None when there is no such version."""
        with self._explained(f"read version {version} of {name!r}"):
            found = _unless_absent(lambda: self._client.get_model_version(name, version))
            return None if found is None else self._to_contract(found)

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version behind an alias, None when there is no such model or alias."""
        with self._explained(f"read alias {alias!r} of {name!r}"):
            found = _unless_absent(lambda: self._client.get_model_version_by_alias(name, alias))
            return None if found is None else self._to_contract(found)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version and re-read it to be sure; MLflow has no compare-and-set."""
        with self._explained(f"set alias {alias!r} of {name!r} to version {version}"):
            self._client.set_registered_model_alias(name, alias, version)
            now = str(self._client.get_model_version_by_alias(name, alias).version)
        if now != version:
            raise RegistryError(
                f"alias {alias!r} of {name!r} points at version {now} after setting {version}; another writer moved "
                "it. Look at both versions in MLflow and promote the right one again"
            )

    def clear_alias(self, name: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not set."""
        if self.by_alias(name, alias) is None:
            return
        with self._explained(f"clear alias {alias!r} of {name!r}"):
            self._client.delete_registered_model_alias(name, alias)

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered model itself, none when there is no such model."""
        with self._explained(f"read the tags of {name!r}"):
            found = _unless_absent(lambda: self._client.get_registered_model(name))
            return {} if found is None else dict(found.tags)

    def set_tag(self, name: str, tag: str, value: str | None) -> None:
        """Set a tag of a registered model itself; None removes it, and does nothing when it is not there."""
        with self._explained(f"set tag {tag!r} of {name!r}"):
            if value is not None:
                self._client.set_registered_model_tag(name, tag, value)
            elif tag in self.tags(name):
                self._client.delete_registered_model_tag(name, tag)

    def log_metrics(self, model: ModelVersion, metrics: Mapping[str, float]) -> None:
        """Add metrics to the version's run and page."""
        from pipelines.stores import mlflow_logging as logging

        with self._explained(f"log metrics of {model.name!r} version {model.version}"):
            logging.log_metrics(self._client, model.run_id, metrics, model_id=self._model_id(model))

    def log_artifacts(self, model: ModelVersion, files: Mapping[Path, str]) -> None:
        """Add files or folders, such as a report, to the version's run: local path -> artifact path."""
        from pipelines.stores import mlflow_logging as logging

        with self._explained(f"log artifacts of {model.name!r} version {model.version}"):
            logging.log_artifacts(self._client, model.run_id, files)

    def _cached(self, model: ModelVersion) -> Path:
        return self._cache / model.name / model.digest[:16]

    def _fetch(self, model: ModelVersion, folder: Path, file: str = "") -> None:
        from mlflow.artifacts import download_artifacts

        with self._explained(f"download {model.name!r} version {model.version}"):
            location = self._client.get_logged_model(self._model_id(model)).artifact_location
            download_artifacts(
                artifact_uri=f"{location}/{BUNDLE}/{file}".rstrip("/"), dst_path=str(folder), tracking_uri=self._uri
            )

    def _model_id(self, model: ModelVersion) -> str:
        """Return the logged model behind a version; MLflow's REST answer has it in `source` alone."""
        source: str = self._client.get_model_version(model.name, model.version).source
        return source.removeprefix("models:/")

    def _versions(self, name: str, key: str) -> list[Any]:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'")
        return sorted(found, key=lambda version: int(version.version))

    def _only_version(self, name: str, key: str) -> ModelVersion:
        """Return the first version of `key`; two writers at once leave two, of which the later is removed."""
        first, *later = self._versions(name, key)
        for version in later:
            self._client.delete_model_version(name, version.version)
        return self._to_contract(first)

    def _to_contract(self, version: Any) -> ModelVersion:
        missing = {DIGEST_TAG, DATASET_TAG} - version.tags.keys()
        if missing:
            raise RegistryError(
                f"version {version.version} of {version.name!r} has no tag {sorted(missing)}; expected a version that "
                "Tandem registered. Point the alias at one, or run `tandem promote-release`"
            )
        return ModelVersion(
            name=version.name,
            version=str(version.version),
            run_id=version.run_id,
            dataset=version.tags[DATASET_TAG],
            digest=version.tags[DIGEST_TAG],
            metrics=self._client.get_run(version.run_id).data.metrics,
        )

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(doing, self._uri)


def _unless_absent(read: Callable[[], Any]) -> Any:
    """Return what `read` finds, None when MLflow says that it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return read()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def prepare_client() -> None:
    """Set what MLflow's client reads from the environment, and load its plugins but for Feast's."""
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    _load_header_plugins()


def _load_header_plugins() -> None:
    """Load what adds headers to MLflow's requests, but for Feast's: it imports all of Feast, seconds in every task."""
    from mlflow.utils import plugins

    every = plugins.get_entry_points
    plugins.get_entry_points = lambda group: [p for p in every(group) if not p.value.startswith("feast.")]
    try:
        import mlflow.tracking.request_header.registry  # noqa: F401 - asks for the plugins when it is imported
    finally:
        plugins.get_entry_points = every
