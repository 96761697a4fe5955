"""Queries and items in the space of a retrieval bundle, whatever model it holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.index.sparse_vectors import SPARSE_FILE, SparseVectors
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.models.export import load_onnx, run_onnx

Floats = NDArray[np.float32]
ItemVectors = Floats | SparseVectors
QUERY_TOWER, ITEM_TOWER = "query_tower.onnx", "item_tower.onnx"
QUERY_INPUTS, ITEM_INPUTS = "query_inputs", "item_inputs"


def embed_queries(bundle: Path, features: pa.Table) -> Floats:
    """Return the query side of feature rows, float32 `[num_queries, embedding_dim]`."""
    return _run(bundle / QUERY_TOWER, QueryEncoder.load(bundle / QUERY_INPUTS).encode(features))


def embed_items(bundle: Path, items: pa.Table) -> ItemVectors:
    """Return the item side of item rows, `[num_items, embedding_dim]`: by the item tower, or rows of sparse vectors."""
    inputs = ItemEncoder.load(bundle / ITEM_INPUTS).encode(items)
    if (bundle / SPARSE_FILE).exists():
        return SparseVectors.load(bundle / SPARSE_FILE).take(inputs["item"])
    return _run(bundle / ITEM_TOWER, inputs)


def products(queries: Floats, items: ItemVectors) -> Floats:
    """Return inner products, float32 `[num_queries, num_items]`."""
    if isinstance(items, SparseVectors):
        return items.products(queries)
    return np.asarray(queries @ items.T, dtype=np.float32)


def narrowed(items: ItemVectors, width: int, *, seed: int) -> Floats:
    """Return vectors of at most `width`, `[num_items, width or less]`; inner products are kept as far as that can be.

    Wider ones are multiplied by random normals, which keeps inner products in expectation (Johnson and Lindenstrauss).
    """
    if items.shape[1] <= width and not isinstance(items, SparseVectors):
        return items
    directions = np.random.default_rng(seed).standard_normal((width, items.shape[1]), dtype=np.float32)
    return products(directions / np.sqrt(np.float32(width)), items).T


def _run(graph: Path, inputs: dict[str, NDArray[Any]]) -> Floats:
    (vectors,) = run_onnx(load_onnx(graph), inputs, batch_size=2_048).values()
    return np.asarray(vectors, dtype=np.float32)
