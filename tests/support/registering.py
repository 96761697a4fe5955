"""A small model bundle with a graph, and a record of how it was made, to register."""

from pathlib import Path

import numpy as np

from pipelines.contracts import ModelVersion
from pipelines.stores.base import RunRecord
from pipelines.stores.registry import MlflowRegistry

RECORD = RunRecord(
    name="retrieval-test",
    params={"retrieval.embedding_dim": 64, "seed": 7},
    metrics={"recall_at_50": 0.25},
    curves={"loss": [3.0, 2.0, 1.5]},
    tags={"tandem.snapshot": "snap", "tandem.feature_service": "retrieval_v1"},
)


def write_bundle(folder: Path) -> Path:
    """Write a tower that gives back its numbers, `[batch, 3]`, an example of them and a file of its inputs."""
    import onnx
    from onnx import TensorProto, helper

    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "user.json").write_text("{}")
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["numbers"], ["embedding"])],
        "tower",
        [tensor("numbers", TensorProto.FLOAT, ["batch", 3])],
        [tensor("embedding", TensorProto.FLOAT, ["batch", 3])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(folder / "tower.onnx"))
    np.savez(folder / "input_example.npz", numbers=np.array([[1, 2, 3]], np.float32))
    return folder


def register(
    registry: MlflowRegistry, bundle: Path, name: str, key: str = "k1", record: RunRecord = RECORD
) -> ModelVersion:
    return registry.register(name, bundle, key=key, dataset="tiny", record=record, onnx="tower.onnx")
