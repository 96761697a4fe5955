"""A trained retriever as the folder that is registered: what serving loads, and the model itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import TrainingError
from pipelines.inputs.item_encoder import ItemEncoder
from pipelines.inputs.query_encoder import QueryEncoder
from pipelines.models.export import load_onnx
from pipelines.models.retrievers.base import Retriever
from pipelines.models.retrievers.training_data import LabelReader
from pipelines.models.vectors import ITEM_INPUTS, QUERY_INPUTS, QUERY_TOWER, embed_items, embed_queries, products

TOLERANCE = 1e-3  # of the largest score of a query, since models score in units of their own
NUM_CHECKED = 64


def write_retriever(
    folder: Path, model: Retriever, reader: LabelReader, queries: QueryEncoder, items: ItemEncoder, sample: pa.Table
) -> int:
    """Write encoders, both sides and `model/`; check that what serving loads scores as the model does.

    Args:
        folder: of the bundle.
        model: trained.
        reader: made the sequences it was trained on.
        queries: encoder of query rows.
        items: encoder of item rows.
        sample: a few label rows to check by; the first is the input example of the registered graph.

    Returns:
        The width of query and item vectors.

    Raises:
        TrainingError: scores differ, or the model cannot be served.
    """
    queries.save(folder / QUERY_INPUTS)
    items.save(folder / ITEM_INPUTS)
    model.save(folder / "model")
    model.export(folder, layout=reader.layout)
    names = [value.name for value in load_onnx(folder / QUERY_TOWER).get_inputs()]
    example: dict[str, Any] = queries.encode(sample.slice(0, 1))
    np.savez(folder / "input_example.npz", **{name: example[name] for name in names})
    return _check(folder, model, reader, sample.slice(0, NUM_CHECKED))


def _check(folder: Path, model: Retriever, reader: LabelReader, sample: pa.Table) -> int:
    """Compare scores of all known items; returns the width of the vectors."""
    expected = model.score(reader.queries(sample))
    vectors = embed_queries(folder, sample)
    known = pa.table({"item_id": reader.items.values})
    found = products(vectors, embed_items(folder, known))
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1e-6)
    difference = float((np.abs(found - expected) / scale).max())
    if not difference <= TOLERANCE:
        raise TrainingError(
            f"{folder / QUERY_TOWER} scores differ from model {model.card.name!r} by {difference:.2g} of a query's "
            f"largest score; expected at most {TOLERANCE}. The model's `export` does not say what its `score` does"
        )
    return int(vectors.shape[1])
