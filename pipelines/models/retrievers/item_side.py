"""The item side of an exported model: vectors looked up by number, in full or sparse."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.index.sparse_vectors import SPARSE_FILE, SparseVectors
from pipelines.models.retrievers.layout import Layout
from pipelines.models.retrievers.query_graph import OPSET
from pipelines.models.vectors import ITEM_TOWER

Floats = NDArray[np.float32]


def save_item_vectors(folder: Path, layout: Layout, vectors: Any, *, unseen: Floats | None = None) -> None:
    """Write the item side: a graph that looks vectors up, or, for a scipy sparse matrix, `item_vectors.npz`.

    Args:
        folder: of the bundle.
        layout: how serving numbers items.
        vectors: float32 `[num_items, width]`, an array or a scipy sparse matrix.
        unseen: vector of items that the model does not know, `[width]`; None takes the mean of the others, or nothing
            for a sparse matrix: such an item is neither first nor last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(vectors, np.ndarray):
        import scipy.sparse as sp

        blank = sp.csr_matrix(np.zeros((layout.first_item, vectors.shape[1]), dtype=np.float32))
        SparseVectors.of(sp.vstack([blank, vectors])).save(folder / SPARSE_FILE)
        return
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = layout.item_rows(vectors, vectors.mean(axis=0) if unseen is None else unseen)
    nodes = [helper.make_node("Gather", ["table", "item"], ["item_vector"], axis=0)]
    inputs = [helper.make_tensor_value_info("item", TensorProto.INT32, ["batch"])]
    outputs = [helper.make_tensor_value_info("item_vector", TensorProto.FLOAT, ["batch", table.shape[1]])]
    graph = helper.make_graph(nodes, "item", inputs, outputs, [numpy_helper.from_array(table, "table")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9), folder / ITEM_TOWER
    )
