"""Keras models as ONNX graphs, checked against the model they came from."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import TrainingError

TOLERANCE = 1e-4


def export_onnx(model: Any, file: Path, example: dict[str, NDArray[Any]]) -> None:
    """Write `model` as ONNX and check that it gives what Keras gives.

    Args:
        model: Keras model of a dict of inputs.
        file: the ONNX file to write.
        example: inputs of a few rows, also used for the check.

    Raises:
        TrainingError: the outputs differ by more than 1e-4.
    """
    inputs = {tensor.name: example[tensor.name] for tensor in model.inputs}
    expected = model.predict_on_batch(inputs)  # a model must have run once before it can be exported
    model.export(str(file), format="onnx", verbose=False)
    for name, output in run_onnx(load_onnx(file), inputs).items():
        of_keras = expected[name] if isinstance(expected, dict) else expected
        difference = float(np.abs(np.asarray(of_keras) - output).max())
        if not difference <= TOLERANCE:
            raise TrainingError(
                f"{file.name}: output {name!r} differs from Keras by {difference:.2g}; expected at most {TOLERANCE}. "
                "Lower the learning rate if training diverged; otherwise a layer does not export faithfully"
            )


def load_onnx(file: Path, *, threads: int = 2) -> Any:
    """Return an onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def run_onnx(session: Any, inputs: dict[str, NDArray[Any]], *, batch_size: int = 8192) -> dict[str, NDArray[Any]]:
    """Return output name -> array, run over the rows in batches; inputs the graph does not have are left out."""
    names = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    num_rows = len(inputs[names[0]])
    if not num_rows:  # to ONNX a dimension of 0 means "as before": a graph that reshapes cannot be run on no row
        one = {name: np.zeros((1, *inputs[name].shape[1:]), inputs[name].dtype) for name in names}
        return {name: values[:0] for name, values in run_onnx(session, one).items()}
    batches = [
        session.run(None, {name: inputs[name][start : start + batch_size] for name in names})
        for start in range(0, num_rows, batch_size)
    ]
    return {name: np.concatenate(parts) for name, parts in zip(outputs, zip(*batches, strict=True), strict=True)}
