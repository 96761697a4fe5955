"""Runs in MLflow as what they show: metrics, curves, files; and a run of its own for what belongs to no version."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.stores.base import RunRecord
from pipelines.stores.mlflow_errors import explained
from pipelines.stores.registry import KEY_TAG, prepare_client

NO_CURVE = ("test_", "cost_")


@dataclass(frozen=True)
class RunMetrics:
    """What a run's page shows.

    Attributes:
        metrics: name -> newest value.
        curves: name -> a value a step, of those with steps.
    """

    metrics: dict[str, float]
    curves: dict[str, list[float]]


class MlflowRuns:
    """Runs on a tracking server.

    Args:
        uri: the server's address.
    """

    def __init__(self, uri: str) -> None:
        prepare_client()
        from mlflow import MlflowClient

        self._uri = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def read(self, run_id: str) -> RunMetrics:
        """Return a run's metrics and curves.

        Raises:
            RegistryError: the server cannot be reached or has no such run.
        """
        with explained(f"read run {run_id}", self._uri):
            metrics = dict(self._client.get_run(run_id).data.metrics)
            histories = {
                name: self._client.get_metric_history(run_id, name) for name in metrics if not name.startswith(NO_CURVE)
            }
        steps = {name: sorted((p.step, p.value) for p in points if p.step > 0) for name, points in histories.items()}
        return RunMetrics(metrics, {name: [value for _, value in points] for name, points in steps.items() if points})

    def fetch_files(self, run_id: str, files: Sequence[str], folder: Path) -> bool:
        """Copy files of a run into `folder`; returns False, and copies nothing, unless all of them are there.

        Args:
            run_id: whose.
            files: paths below the run's artifacts, all in one folder there.
            folder: gets them, by their own names.

        Raises:
            RegistryError: the server cannot be reached or has no such run.
        """
        from mlflow.artifacts import download_artifacts

        with explained(f"download files of run {run_id}", self._uri), tempfile.TemporaryDirectory() as scratch:
            where = str(Path(files[0]).parent)
            if not set(files) <= {found.path for found in self._client.list_artifacts(run_id, where)}:
                return False
            for file in files:
                uri = f"runs:/{run_id}/{file}"
                got = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self._uri)
                shutil.move(got, folder / Path(file).name)
        return True

    def record(self, key: str, *, dataset: str, record: RunRecord) -> str:
        """Return the id of the finished run with a key; where there is none, write it first.

        A writer that was killed leaves a run that is not finished, which the next one removes.

        Args:
            key: digest of everything the run shows.
            dataset: the run goes to the experiment `tandem/<dataset>`.
            record: what it shows.

        Raises:
            RegistryError: the server cannot be reached or refuses.
        """
        from pipelines.stores import mlflow_logging as logging

        with explained(f"write run {record.name!r}", self._uri):
            experiment_id = logging.experiment(self._client, f"tandem/{dataset}")
            found = self._client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'")
            finished = [run.info.run_id for run in found if run.info.status == "FINISHED"]
            if finished:
                return str(finished[0])
            logging.remove_unfinished(self._client, experiment_id, {KEY_TAG: key}, keep=())
            run_id = logging.start_run(self._client, experiment_id, record, {**record.tags, KEY_TAG: key})
            self._client.set_terminated(run_id)
            return run_id

    def begin(self, key: str, *, dataset: str, record: RunRecord) -> str:
        """Return the id of the open run with a key, for what `finish` will add to; one caller at a time.

        Args:
            key: digest of what the run is of.
            dataset: the run goes to the experiment `tandem/<dataset>`.
            record: its name, parameters and tags.

        Raises:
            RegistryError: the server cannot be reached or refuses.
        """
        from pipelines.stores import mlflow_logging as logging

        with explained(f"begin run {record.name!r}", self._uri):
            experiment_id = logging.experiment(self._client, f"tandem/{dataset}")
            found = self._client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'")
            if not found:
                return logging.start_run(self._client, experiment_id, record, {**record.tags, KEY_TAG: key})
            run_id = str(found[0].info.run_id)
            logging.log_params(self._client, run_id, record.params)  # whoever began it may have been killed before
            self._client.update_run(run_id, status="RUNNING")
            return run_id

    def finish(self, run_id: str, record: RunRecord) -> None:
        """Add tags, metrics, curves and files to a run of `begin`, and end it; again replaces what was there.

        Raises:
            RegistryError: the server cannot be reached or refuses.
        """
        from pipelines.stores import mlflow_logging as logging

        with explained(f"finish run {record.name!r}", self._uri):
            logging.set_tags(self._client, run_id, record.tags)
            logging.log_curves(self._client, run_id, record.curves)
            logging.log_metrics(self._client, run_id, record.metrics)
            logging.log_artifacts(self._client, run_id, record.artifacts)
            self._client.set_terminated(run_id)

    def address(self, run_id: str) -> str:
        """Return the address of a run's page."""
        with explained(f"read run {run_id}", self._uri):
            experiment_id = self._client.get_run(run_id).info.experiment_id
        return f"{self._uri}/#/experiments/{experiment_id}/runs/{run_id}"
