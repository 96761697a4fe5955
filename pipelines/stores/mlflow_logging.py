"""What the write side of the registry does in MLflow: runs, parameters, curves, logged models."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

from pipelines.stores.base import RunRecord

LONGEST_VALUE = 5_000  # MLflow refuses parameters above 6,000 characters and tags above 8,000
PER_BATCH = 100


def experiment(client: Any, name: str) -> str:
    """Return the id of the experiment, created if need be; safe when two processes create it at once."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def ensure_registered_model(client: Any, name: str) -> None:
    """Create the registered model unless it exists."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def remove_unfinished(client: Any, experiment_id: str, tags: Mapping[str, str], *, keep: Collection[str]) -> None:
    """Delete the runs that a killed writer left with these tags; those in `keep` have a version."""
    matches = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    for run in client.search_runs([experiment_id], matches):
        if run.info.run_id in keep:
            continue
        for model in run.outputs.model_outputs if run.outputs else []:
            client.delete_logged_model(model.model_id)
        client.delete_run(run.info.run_id)


def start_run(client: Any, experiment_id: str, record: RunRecord, tags: Mapping[str, str]) -> str:
    """Open a run with its parameters, metrics, curves and files; returns its id."""
    run_id = str(client.create_run(experiment_id, run_name=record.name, tags=_texts(tags)).info.run_id)
    log_params(client, run_id, record.params)
    log_curves(client, run_id, record.curves)
    log_metrics(client, run_id, record.metrics)
    log_artifacts(client, run_id, record.artifacts)
    return run_id


def log_params(client: Any, run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters; those that are there already must be equal."""
    from mlflow.entities import Param

    for batch in _batches([Param(name, text) for name, text in _texts(params).items()]):
        client.log_batch(run_id, params=batch)


def set_tags(client: Any, run_id: str, tags: Mapping[str, Any]) -> None:
    """Set tags; others stay."""
    from mlflow.entities import RunTag

    for batch in _batches([RunTag(name, text) for name, text in _texts(tags).items()]):
        client.log_batch(run_id, tags=batch)


def log_metrics(client: Any, run_id: str, metrics: Mapping[str, float], *, model_id: str | None = None) -> None:
    """Log final values, on the run and, with `model_id`, on the model's page."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entities = [Metric(name, float(value), now, 0, model_id=model_id) for name, value in metrics.items()]
    for batch in _batches(entities):
        client.log_batch(run_id, metrics=batch)


def log_curves(client: Any, run_id: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Log a value a step for each metric; steps count from 1."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(n, float(v), now, step) for n, values in curves.items() for step, v in enumerate(values, start=1)]
    for batch in _batches(points):
        client.log_batch(run_id, metrics=batch)


def log_artifacts(client: Any, run_id: str, files: Mapping[Path, str]) -> None:
    """Upload files and folders: local path -> artifact path (empty for the root)."""
    for path, target in files.items():
        upload = client.log_artifacts if path.is_dir() else client.log_artifact
        upload(run_id, str(path), target or None)


def model_folder(folder: Path, bundle: Path, onnx: str | None) -> Path:
    """Lay out what becomes the logged model: MLflow's ONNX files if there is a graph, and our bundle."""
    folder.mkdir()
    if onnx is not None:
        _save_onnx_flavor(bundle / onnx, folder)
    copytree(bundle, folder / "bundle")
    return folder


def log_model(client: Any, experiment_id: str, run_id: str, name: str, folder: Path, record: RunRecord) -> str:
    """Upload `folder` as a logged model of the run, complete before it is READY; returns its id."""
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, params=_texts(record.params))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    log_metrics(client, run_id, record.metrics, model_id=model.model_id)
    return str(model.model_id)


def _save_onnx_flavor(file: Path, folder: Path) -> None:
    """Write MLmodel, signature and input example of an ONNX graph; no pickle is involved."""
    import mlflow.onnx
    import numpy as np
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: Iterable[Any]) -> Schema:
        return Schema([TensorSpec(np.dtype(_dtype(v)), _shape(v), v.name) for v in values])

    model = onnx.load(str(file))
    example_file = file.parent / "input_example.npz"
    if example_file.exists():
        with np.load(example_file) as arrays:
            example = {name: arrays[name] for name in arrays.files}
    else:
        example = {v.name: np.zeros((1, *_shape(v)[1:]), _dtype(v)) for v in model.graph.input}
    mlflow.onnx.save_model(
        model,
        str(folder),
        signature=ModelSignature(schema(model.graph.input), schema(model.graph.output)),
        input_example=example,
        pip_requirements=["onnx", "onnxruntime", "numpy"],
        save_as_external_data=False,
    )


def _dtype(value: Any) -> Any:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _shape(value: Any) -> tuple[int, ...]:
    """Return the tensor's shape, -1 for the batch axis."""
    return (-1, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:LONGEST_VALUE] for name, value in values.items()}


def _batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), PER_BATCH):
        yield values[start : start + PER_BATCH]
